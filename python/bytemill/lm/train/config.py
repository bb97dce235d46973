"""`TrainConfig`: every choice of a training run, typed, checked, and kept as JSON with the run."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bytemill import files
from bytemill.lm.settings import option

FORMAT: Final = "bytemill-train-config"
VERSION: Final = 1


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run. None means: derived, as `bytemill.lm.train.plan.plan` says.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A value is out of range; the message names the field and the range.
    """

    # The help texts are those of the flags, and the documentation of the fields.
    data: str = option(help="a folder of token shards, or a flat .npy file of token ids")
    out: str = option(help="the run's folder: configuration, metrics, plot, checkpoints")
    val_data: str | None = option(
        None, help="shards or .npy for validation (default: the validation split of the data)"
    )
    tokenizer: str | None = option(
        None,
        help="the tokenizer's folder; needed for bits per byte and samples, and checked against "
        "the shards",
    )
    loader: Literal["windows", "documents"] = option(
        "windows",
        help="rows are random windows of the tokens, or begin at documents' first tokens",
    )
    bos: str | None = option(
        None, help="the special token that begins documents, for the loader of documents"
    )

    preset: Literal["gpt", "cs336"] = option("gpt", help="the kind of model")
    depth: int | None = option(
        None,
        least=1,
        help="the dial: layers, and from them width, heads, batch, learning rates and horizon "
        "where these are not given (default: n_layer, or 4)",
    )
    context_length: int = option(512, least=1, help="tokens in a row, T")
    vocab_size: int | None = option(None, least=1, help="rows of the embedding, V")
    d_model: int | None = option(None, least=1, help="width, C (default: 64 times the depth)")
    n_layer: int | None = option(None, least=1, help="layers (default: the depth)")
    n_head: int | None = option(None, least=1, help="heads of queries")
    n_kv_head: int | None = option(None, least=1, help="heads of keys and values")
    d_ff: int | None = option(None, least=1, help="width of the feed-forward layers")
    rope_theta: float = option(10_000.0, above=0, help="RoPE's base")

    steps: int | None = option(None, least=1, help="optimizer steps, the horizon")
    tokens_per_parameter: float | None = option(
        None,
        above=0,
        help="the horizon where steps are not given: tokens for each parameter, those of the "
        "embedding not counted (default: 20, if no horizon is given)",
    )
    flops: float | None = option(
        None, above=0, help="the horizon where neither of the two is given: FLOPs of training"
    )
    batch_size: int | None = option(None, least=1, help="rows in an optimizer step, B")
    micro_batch_size: int | None = option(
        None,
        least=1,
        help="rows that are computed at a time; it changes memory and speed, not the result, and "
        "is halved when memory runs out",
    )

    optimizer: Literal["muon", "adamw"] = option("muon", help="of the layers' matrices")
    embedding_lr: float | None = option(None, least=0, help="peak learning rate, embedding")
    head_lr: float | None = option(None, least=0, help="peak learning rate, output layer")
    matrix_lr: float | None = option(None, least=0, help="peak learning rate, layers' matrices")
    vector_lr: float | None = option(None, least=0, help="peak learning rate, norms' weights")
    beta1: float | None = option(None, least=0, most=1, help="AdamW: decay of the gradient")
    beta2: float | None = option(None, least=0, most=1, help="AdamW: decay of its square")
    eps: float | None = option(None, least=0, help="AdamW: added to the denominator")
    weight_decay: float | None = option(None, least=0, help="decoupled weight decay")
    momentum: float = option(0.95, least=0, most=1, help="Muon's momentum")
    grad_clip: float | None = option(
        1.0, above=0, help='the most norm of all gradients together; "none" not to clip'
    )
    schedule: Literal["linear", "cosine", "constant"] = option(
        "linear", help="of the learning rates: constant then linear decay, cosine, constant"
    )
    warmup_steps: int | None = option(
        None, least=0, help="linear warm-up (default: 2 % of the steps, 100 at most)"
    )
    final_fraction: float = option(
        0.0, least=0, most=1, help="the learning rates' share that is left at the end"
    )
    decay_fraction: float = option(
        0.5, least=0, most=1, help="the share of the steps in which the linear schedule decays"
    )

    device: str = option("auto", help='"auto", "cpu", "cuda", "cuda:N" or "mps"')
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto", help="of the matrix products; weights are float32"
    )
    compile: Literal["auto", "on", "off"] = option("auto", help="torch.compile; auto: on CUDA")
    threads: int | None = option(None, least=1, help="CPU threads (default: torch's)")
    seed: int = option(0, least=0, help="of the weights, the batches and the samples")

    log_every: int = option(10, least=1, help="steps between lines in metrics.jsonl")
    eval_every: int = option(250, least=0, help="steps between validations; 0: at the end only")
    eval_batches: int = option(20, least=1, help="batches of a validation, always the same")
    sample_every: int = option(0, least=0, help="steps between samples; 0: none")
    sample_tokens: int = option(64, least=1, help="tokens in a sample")
    sample_prompt: str = option("", help="what samples begin with")
    checkpoint_every: int = option(
        250, least=0, help="steps between checkpoints; 0: at the end only"
    )
    keep_last: int = option(2, least=1, help="checkpoints to keep, besides the best")
    wandb: str | None = option(None, help="log to this project of Weights & Biases, too")
    tensorboard: bool = option(False, help="log to RUN/tensorboard, too")

    def __post_init__(self) -> None:
        for name, kind in hints().items():
            check_value(name, getattr(self, name), kind)
            if kind is float and isinstance(getattr(self, name), int):
                object.__setattr__(self, name, float(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any], source: str = "the configuration") -> TrainConfig:
        """The reverse of `to_dict`; fields that are not there have their defaults.

        Raises:
            TypeError, ValueError: As the class; an unknown or missing field is named.
        """
        known = hints()
        check_names(fields, source)
        for name in ("data", "out"):
            if name not in fields:
                raise ValueError(f"{source}: {name!r} is missing; it has no default")
        for name, value in fields.items():
            try:
                check_value(name, value, known[name])
            except (TypeError, ValueError) as error:
                raise type(error)(f"{source}: {error}") from None
        return cls(**fields)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file that `load` reads."""
        whole = {"format": FORMAT, "version": VERSION, **self.to_dict()}
        files.write_bytes(path, (json.dumps(whole, indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Reads a file that `save` wrote, or a person.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError, ValueError: The file or a field is wrong; the message names both.
        """
        return cls.from_dict(read_fields(path), os.fspath(path))


def read_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields in a configuration file, names checked, values not; errors as `load`."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; a configuration is a JSON file like RUN/config.json"
        )
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: it is no JSON ({error}); mend it or save it again") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{file}: it holds no JSON object; a configuration is {{field: value}}")
    if (format := fields.pop("format", FORMAT)) != FORMAT:
        raise ValueError(f'{file}: "format" is {format!r}, not {FORMAT!r}: it is another file')
    if (version := fields.pop("version", VERSION)) != VERSION:
        raise ValueError(
            f"{file}: version {version!r} of the format; this bytemill reads version {VERSION}: "
            "update bytemill"
        )
    check_names(fields, str(file))
    return fields


def check_names(fields: dict[str, Any], source: str) -> None:
    """Raises ValueError for a name that is no field, with the one that may have been meant."""
    import difflib

    known = hints()
    for name in fields:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "; see TrainConfig for the fields"
            raise ValueError(f"{source}: unknown field {name!r}{hint}")


def hints() -> dict[str, Any]:
    """The fields' names and types."""
    return typing.get_type_hints(TrainConfig)


def options() -> list[dataclasses.Field[Any]]:
    """The fields, in order; `metadata["help"]` says what each is."""
    return list(dataclasses.fields(TrainConfig))


def split_type(kind: Any) -> tuple[type, tuple[Any, ...], bool]:
    """A field's type as its plain type, its choices if it is a Literal, and whether None may be."""
    optional = isinstance(kind, types.UnionType)
    if optional:
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is Literal:
        return str, typing.get_args(kind), optional
    return kind, (), optional


def check_value(name: str, value: Any, kind: Any) -> None:
    """Raises TypeError or ValueError unless `value` can be the field `name` of type `kind`."""
    plain, choices, optional = split_type(kind)
    if value is None and optional:
        return
    is_int = isinstance(value, int) and not isinstance(value, bool)
    good = is_int if plain is int else isinstance(value, plain)
    if plain is float:
        good = is_int or isinstance(value, float)
    if not good:
        none = " or null" if optional else ""
        raise TypeError(f"{name}={value!r}: it must be {_WORDS[plain]}{none}")
    if choices and value not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{name}={value!r}: it must be one of {listed}")
    limits = TrainConfig.__dataclass_fields__[name].metadata
    if plain in (int, float):
        low, above, high = limits["least"], limits["above"], limits["most"]
        outside = (low is not None and value < low) or (above is not None and value <= above)
        if not math.isfinite(value) or outside or (high is not None and value > high):
            parts = [f"at least {low}"] if low is not None else []
            parts += [f"above {above}"] if above is not None else []
            parts += [f"at most {high}"] if high is not None else []
            raise ValueError(f"{name}={value}: it must be {' and '.join(parts) or 'finite'}")


_WORDS: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
