"""`ModelConfig`: the shape of a Transformer and its variations, typed and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any, Final, Literal, TypeAlias, get_type_hints

from bytemill.lm.model.arguments import field_value, plain_value
from bytemill.lm.model.variants import (
    INITS,
    MLPS,
    NORM_POSITIONS,
    Activation,
    Init,
    InitialValues,
    Mlp,
    Norm,
    NormPlaces,
    NormPosition,
    Position,
    has_value_embedding,
    window_of_a_quarter,
)
from bytemill.lm.settings import option

Preset: TypeAlias = Literal["cs336", "gpt", "nanochat-2026"]

_GPT: Final[dict[str, Any]] = {
    "mlp": "relu2",
    "norm_weights": False,
    "qk_norm": True,
    "embedding_norm": True,
    "logit_softcap": 15.0,
    "zero_init_output": True,
}
_VARIATIONS: Final[dict[str, dict[str, Any]]] = {
    "cs336": {
        "mlp": "swiglu",
        "norm_weights": True,
        "qk_norm": False,
        "embedding_norm": False,
        "logit_softcap": None,
        "zero_init_output": False,
    },
    "gpt": _GPT,
    "nanochat-2026": {
        **_GPT,
        "rope_theta": 100_000.0,
        "window_pattern": "SSSL",
        "qk_scale": 1.2,
        "value_embeddings": True,
        "resid_scalars": True,
        "x0_scalars": True,
        "smear": True,
        "backout": True,
        "vocab_multiple": 64,
        "init": "uniform",
    },
}
MOST_IDS: Final = 2**32
MOST_LAYERS: Final = 10_000
MOST_WIDTH: Final = 10_000_000
"""Far above any model's: what is mistyped is refused, and not begun."""
PRESETS: Final = tuple(_VARIATIONS)


def preset_fields(name: Preset) -> dict[str, Any]:
    """The fields of `ModelConfig` that a preset decides, but for the window."""
    return dict(_VARIATIONS[name])


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
        "w2(silu(w1 x)), relu2 is w2(relu(w1 x)^2) (So et al. 2021), gelu is w2(gelu(w1 x))"
    )
    norm_weights: bool = option(help="give the norms learned weights")
    qk_norm: bool = option(
        help="RMSNorm of each head's queries and keys, before RoPE (Henry et al. 2020)"
    )
    embedding_norm: bool = option(help="a norm directly after the token embedding")
    logit_softcap: float | None = option(
        help="s: logits become s * tanh(logits / s), as in Gemma 2 (section 2); none leaves them",
        above=0,
    )
    zero_init_output: bool = option(
        help="start attn.output_proj and ffn.w2 at zero, so that each block begins as the "
        "identity, and the head near zero"
    )
    rope_theta: float = option(
        10_000.0, help="base of RoPE's frequencies (Su et al. 2021, section 3.2.2)", above=0
    )
    norm_eps: float = option(1e-5, help="added to the mean square in norms", above=0)
    norm: Norm = option(  # noqa: RUF009
        "rms",
        help="the norms, those of heads aside: rms is RMSNorm (Zhang and Sennrich 2019), layer is "
        "LayerNorm (Ba et al. 2016)",
    )
    bias: bool = option(
        False, help="give the layers' matrices biases, and LayerNorm, as GPT-2 does"
    )
    norm_position: NormPosition = option(  # noqa: RUF009
        "pre",
        help="norms of the blocks: pre is x + f(norm(x)), with another norm before the head; post "
        "is norm(x + f(x)) (Vaswani et al. 2017); none is x + f(x), without one before the head",
    )
    position: Position = option(  # noqa: RUF009
        "rope",
        help="how attention learns of positions: rope (Su et al. 2021), learned (a vector for each "
        "is added to the embedding, as in GPT-2), or none: not at all",
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
    qk_scale: float = option(
        1.0,
        help="queries and keys are multiplied by it, after their norm: attention's scores by its "
        "square",
        above=0,
    )
    value_embeddings: bool = option(
        False,
        help="in every other layer, the last among them, add to the values a learned vector of "
        "the token, times 3 sigmoid(w x[:12]) for each head of values",
    )
    resid_scalars: bool = option(
        False, help="multiply the residual stream by a learned number before each layer"
    )
    x0_scalars: bool = option(
        False,
        help="before each layer, add to the residual stream what it began with, times a learned "
        "number",
    )
    smear: bool = option(
        False,
        help="add to each token's vector, after the embedding's norm, that of the token before, "
        "times a learned number and sigmoid(w x[:24])",
    )
    backout: bool = option(
        False,
        help="after the last layer, subtract the output of layer n_layer // 2 (counted from 0), "
        "times a learned number",
    )
    vocab_multiple: int = option(
        1,
        help="embeddings and head have rows for the next multiple of it above the vocabulary's "
        "size, which GPUs multiply faster; those beyond it stand for nothing",
        least=1,
    )
    init: Init = option(  # noqa: RUF009
        "normal",
        help="initial values: normal draws matrices with variance 2 / (d_in + d_out), embeddings "
        "with 1; uniform draws queries, keys and values with a deviation of d_model ** -0.5, the "
        "feed-forward layers' first matrices with 0.4 times that, the embedding with 0.8",
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = field_value(field, hints[field.name], getattr(self, field.name))
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
    def padded_vocab_size(self) -> int:
        """The rows of embeddings and head: V, and what is added to make it a multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def score_scale(self) -> float | None:
        """What attention's scores are multiplied by; None for the usual 1 / sqrt(head_dim)."""
        return None if self.qk_scale == 1 else self.qk_scale**2 / math.sqrt(self.head_dim)

    @property
    def value_layers(self) -> tuple[int, ...]:
        """The layers, counted from 0, that have value embeddings."""
        layers = range(self.n_layer if self.value_embeddings else 0)
        return tuple(i for i in layers if has_value_embedding(i, self.n_layer))

    @property
    def backout_layer(self) -> int | None:
        """The layer, counted from 0, whose output is subtracted at the end; None for none."""
        return self.n_layer // 2 if self.backout else None

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
    def initial(self) -> InitialValues:
        """What `init` stands for."""
        return INITS[self.init]

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
        """A config by name: "cs336" (Stanford CS336, assignment 1), "gpt" (nanochat as first
        published) or "nanochat-2026" (nanochat as of 2026).

        Args:
            name: "cs336": RMSNorm with weights, SwiGLU. "gpt": QK-norm, ReLU squared, RMSNorm
                without weights and also after the embedding, logits capped at 15, output
                projections that start at zero. "nanochat-2026": "gpt" with all that follows
                `window_pattern` among the fields, a base of 100,000 for RoPE, and the pattern SSSL
                of windows of a quarter of the context, in whole blocks of 128.
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
        chosen = _with_window({**_VARIATIONS[name]}, overrides, context_length)
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


def _with_window(
    chosen: dict[str, Any], overrides: dict[str, Any], context_length: Any
) -> dict[str, Any]:
    """A preset's fields and those given over them; the one of window and pattern that is not given
    follows from the other."""
    pattern = overrides.get("window_pattern", chosen.get("window_pattern", "L"))
    if "window" in overrides:
        if overrides["window"] is None and "window_pattern" in chosen:
            chosen["window_pattern"] = "L"
    elif "window_pattern" in chosen and isinstance(pattern, str) and "S" in pattern:
        length = plain_value(context_length)
        if isinstance(length, Integral) and int(length) > 0:
            chosen["window"] = window_of_a_quarter(int(length))
    return {**chosen, **overrides}


def _reject_unknown(values: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(ModelConfig)]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"unknown field of the model config: {', '.join(map(str, unknown))}; "
            f"the fields are {', '.join(known)}"
        )
