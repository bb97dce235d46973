"""`ModelConfig`: the shape of a Transformer and its variations, typed and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from bytemill.lm.model.arguments import plain_value
from bytemill.lm.model.variants import (
    MLPS,
    NORM_POSITIONS,
    Activation,
    Mlp,
    NormPlaces,
    NormPosition,
    Position,
)
from bytemill.lm.settings import option

Preset: TypeAlias = Literal["cs336", "gpt"]

_VARIATIONS: Final[dict[str, dict[str, Any]]] = {
    "cs336": {
        "mlp": "swiglu",
        "norm_weights": True,
        "qk_norm": False,
        "embedding_norm": False,
        "logit_softcap": None,
        "zero_init_output": False,
    },
    "gpt": {
        "mlp": "relu2",
        "norm_weights": False,
        "qk_norm": True,
        "embedding_norm": True,
        "logit_softcap": 15.0,
        "zero_init_output": True,
    },
}
MOST_IDS: Final = 2**32
MOST_LAYERS: Final = 10_000
MOST_WIDTH: Final = 10_000_000
"""Far above any model's: what is mistyped is refused, and not begun."""
PRESETS: Final = tuple(_VARIATIONS)


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only Transformer: sizes first, then what varies.

    Each field's metadata has its help text and range; see `bytemill.lm.settings.option`.

    Fields are kept as Python's own numbers, whether given as such or as NumPy's or torch's scalars,
    so that they can be written as JSON.

    Raises:
        TypeError: A field is of the wrong type.
        ValueError: A field is out of range, or does not go with another; the message names it.
    """

    vocab_size: int = option(
        help="V, the vocabulary's size: ids run from 0 up to it", least=1, most=MOST_IDS
    )
    context_length: int = option(help="the longest sequence, in tokens", least=1)
    d_model: int = option(help="C, the width of the residual stream", least=1, most=MOST_WIDTH)
    n_layer: int = option(help="number of blocks", least=1, most=MOST_LAYERS)
    n_head: int = option(help="query heads, among which d_model is divided", least=1)
    n_kv_head: int = option(
        help="heads of keys and values, each shared by n_head / n_kv_head query heads "
        "(grouped-query attention, Ainslie et al. 2023); n_head for plain multi-head attention",
        least=1,
    )
    d_ff: int = option(help="the inner width of the feed-forward layers", least=1, most=MOST_WIDTH)
    mlp: Mlp = option(  # noqa: RUF009
        help="feed-forward layer: swiglu is w2(silu(w1 x) * w3 x) (Shazeer 2020), silu is "
        "w2(silu(w1 x)), relu2 is w2(relu(w1 x)^2) (So et al. 2021)"
    )
    norm_weights: bool = option(help="give RMSNorm learned weights")
    qk_norm: bool = option(
        help="RMSNorm of each head's queries and keys, before RoPE (Henry et al. 2020)"
    )
    embedding_norm: bool = option(help="RMSNorm directly after the token embedding")
    logit_softcap: float | None = option(
        help="s: logits become s * tanh(logits / s), as in Gemma 2 (section 2); none leaves them",
        above=0,
    )
    zero_init_output: bool = option(
        help="start attn.output_proj and ffn.w2 at zero, so that each block begins as identity, "
        "and the head near zero"
    )
    rope_theta: float = option(
        10_000.0, help="base of RoPE's frequencies (Su et al. 2021, section 3.2.2)", above=0
    )
    norm_eps: float = option(1e-5, help="added to the mean square in RMSNorm", above=0)
    norm_position: NormPosition = option(  # noqa: RUF009
        "pre",
        help="norms of the blocks: pre is x + f(norm(x)), with another norm before the head; post "
        "is norm(x + f(x)) (Vaswani et al. 2017); none is x + f(x), without one before the head",
    )
    position: Position = option(  # noqa: RUF009
        "rope",
        help="how attention learns of positions: rope (Su et al. 2021), or none: not at all",
    )
    tie_embeddings: bool = option(
        False, help="one weight for the embedding and the head (Press and Wolf 2017)"
    )
    dropout: float = option(
        0.0,
        help="share of numbers set to 0 in training, from 0 to below 1, after the embedding and "
        "after each attention and feed-forward layer (Srivastava et al. 2014)",
        least=0,
        most=1,
    )
    window: int | None = option(
        None,
        help="how many tokens a layer marked S sees, itself included; none if there is no such "
        "layer",
        least=1,
    )
    window_pattern: str = option(
        "L",
        help="layers from the first on, S (sees the last `window` tokens) or L (sees all), "
        "repeated as often as needed; the last layer always sees all",
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = _checked(field, hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        if self.dropout == 1:
            raise ValueError("dropout=1: it must be below 1, or nothing is left")
        if self.d_model % self.n_head:
            raise ValueError(
                f"d_model={self.d_model} does not divide among n_head={self.n_head} heads; "
                f"choose a d_model that is a multiple of {self.n_head}"
            )
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(
                f"d_model={self.d_model} and n_head={self.n_head} give heads of size "
                f"{self.head_dim}, but RoPE turns pairs; choose them so that d_model / n_head is "
                "even"
            )
        if self.n_head % self.n_kv_head:
            raise ValueError(
                f"n_head={self.n_head} is not a multiple of n_kv_head={self.n_kv_head}; choose an "
                "n_kv_head that divides n_head"
            )
        if not self.window_pattern or set(self.window_pattern) - {"S", "L"}:
            raise ValueError(
                f'window_pattern={self.window_pattern!r}: it must be made of "S" and "L"'
            )
        if ("S" in self.window_pattern) != (self.window is not None):
            raise ValueError(
                f"window={self.window} and window_pattern={self.window_pattern!r}: layers marked S "
                "need a window, and a window such layers; give both, as in 256 and SSSL, or neither"
            )

    @property
    def head_dim(self) -> int:
        """The size of one head: d_model / n_head."""
        return self.d_model // self.n_head

    @property
    def kv_width(self) -> int:
        """The width of all keys of a token: n_kv_head head_dim."""
        return self.n_kv_head * self.head_dim

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens each layer sees, itself included; None for all."""
        pattern = self.window_pattern
        seen = [
            self.window if pattern[layer % len(pattern)] == "S" else None
            for layer in range(self.n_layer - 1)
        ]
        return (*seen, None)

    @property
    def activation(self) -> Activation:
        """What `mlp` stands for."""
        return MLPS[self.mlp]

    @property
    def norms(self) -> NormPlaces:
        """What `norm_position` stands for."""
        return NORM_POSITIONS[self.norm_position]

    @classmethod
    def preset(
        cls,
        name: Preset,
        *,
        vocab_size: int,
        context_length: int,
        d_model: int,
        n_layer: int,
        n_head: int,
        n_kv_head: int | None = None,
        d_ff: int | None = None,
        **overrides: Any,
    ) -> ModelConfig:
        """A config by name: "cs336" (Stanford CS336, assignment 1) or "gpt" (nanochat).

        Args:
            name: "cs336": RMSNorm with weights, SwiGLU. "gpt": QK-norm, ReLU squared, RMSNorm
                without weights and also after the embedding, logits capped at 15, output
                projections that start at zero.
            vocab_size, context_length, d_model, n_layer, n_head: As the fields.
            n_kv_head: None is `n_head`.
            d_ff: None is 8/3 d_model rounded to a multiple of 64 (at least 64) for SwiGLU and
                4 d_model for the others: about as many parameters either way.
            **overrides: Any other field, in place of the preset's.

        Raises:
            TypeError, ValueError: No such preset or field; further as the class.
        """
        if name not in _VARIATIONS:
            raise ValueError(f"preset {name!r}: it must be one of {', '.join(PRESETS)}")
        _reject_unknown(overrides)
        chosen = {**_VARIATIONS[name], **overrides}
        d_model, mlp = plain_value(d_model), chosen["mlp"]
        if d_ff is None and isinstance(d_model, Integral) and isinstance(mlp, str) and mlp in MLPS:
            d_ff = MLPS[mlp].width(int(d_model))
        return cls(
            vocab_size=vocab_size,
            context_length=context_length,
            d_model=d_model,
            n_layer=n_layer,
            n_head=n_head,
            n_kv_head=n_head if n_kv_head is None else n_kv_head,
            d_ff=1 if d_ff is None else d_ff,
            **chosen,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The config that `to_dict` gave.

        Raises:
            TypeError, ValueError: A field is unknown, missing or out of range; the message names
                it.
        """
        _reject_unknown(values)
        if missing := [f.name for f in fields(cls) if f.name not in values]:
            raise ValueError(
                f"model config without {', '.join(missing)}; to_dict writes every field"
            )
        return cls(**values)


_NAMES: Final[dict[type, str]] = {int: "an int", bool: "True or False", str: "a str"}


def _checked(field: Field[Any], hint: Any, value: Any) -> Any:
    """A value that is of its field's type and in its range, as Python's own; raises otherwise."""
    said = f"{field.name}={value!r}: it must be"
    value = plain_value(value)
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            *most, last = (f'"{choice}"' for choice in get_args(hint))
            raise ValueError(f"{said} {', '.join(most)} or {last}")
        return str(value)
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return value
    kind = kinds[0]
    allowed = {int: Integral, float: Real}.get(kind, kind)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{said} {_NAMES.get(kind, 'a number')}")
    try:
        value = kind(value)
    except OverflowError:
        raise ValueError(f"{said} within the range of a float") from None
    least, above, most = (field.metadata[name] for name in ("least", "above", "most"))
    if above is not None and not (math.isfinite(value) and value > above):
        raise ValueError(f"{said} finite and above {above}")
    if least is not None and not value >= least:
        raise ValueError(f"{said} at least {least}")
    if most is not None and not value <= most:
        raise ValueError(f"{said} at most {most}")
    return value


def _reject_unknown(values: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(ModelConfig)]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"unknown field of the model config: {', '.join(map(str, unknown))}; "
            f"the fields are {', '.join(known)}"
        )
