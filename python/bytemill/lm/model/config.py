"""`ModelConfig`: the shape of a Transformer and its variations, typed and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias

Preset: TypeAlias = Literal["cs336", "gpt"]
Mlp: TypeAlias = Literal["swiglu", "relu2"]

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
PRESETS: Final = tuple(_VARIATIONS)


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only Transformer: sizes first, then what varies between the presets.

    Raises:
        TypeError: A field is of the wrong type.
        ValueError: A field is out of range, or does not go with another; the message names it.
    """

    vocab_size: int
    """V: ids run from 0 up to it."""
    context_length: int
    """The longest sequence, in tokens."""
    d_model: int
    """C: the width of the residual stream."""
    n_layer: int
    n_head: int
    """Query heads; `d_model` is divided among them."""
    n_kv_head: int
    """Heads of keys and values, each shared by n_head / n_kv_head query heads: grouped-query
    attention (Ainslie et al. 2023). As many as `n_head` is plain multi-head attention."""
    d_ff: int
    """The inner width of the feed-forward layers."""
    mlp: Mlp
    """"swiglu": w2(silu(w1 x) * w3 x), Shazeer 2020; "relu2": w2(relu(w1 x)^2), So et al. 2021."""
    norm_weights: bool
    """Whether RMSNorm has learned weights."""
    qk_norm: bool
    """RMSNorm of each head's queries and keys before RoPE (Henry et al. 2020)."""
    embedding_norm: bool
    """RMSNorm directly after the token embedding."""
    logit_softcap: float | None
    """s: logits become s * tanh(logits / s), as in Gemma 2 (section 2); None leaves them."""
    zero_init_output: bool
    """Start `attn.output_proj` and `ffn.w2` at zero, so that each block begins as identity."""
    rope_theta: float = 10_000.0
    """The base of RoPE's frequencies (Su et al. 2021, section 3.2.2)."""
    norm_eps: float = 1e-5
    """Added to the mean square in RMSNorm."""

    def __post_init__(self) -> None:
        for name in _INTEGERS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}={value!r}: it must be an int")
            if value < 1:
                raise ValueError(f"{name}={value}: it must be at least 1")
        for name in ("norm_weights", "qk_norm", "embedding_norm", "zero_init_output"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r}: it must be True or False")
        for name in ("rope_theta", "norm_eps", "logit_softcap"):
            value = getattr(self, name)
            if name == "logit_softcap" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name}={value!r}: it must be a number")
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value}: it must be finite and above 0")
        if self.mlp not in ("swiglu", "relu2"):
            raise ValueError(f'mlp={self.mlp!r}: it must be "swiglu" or "relu2"')
        if self.d_model % self.n_head:
            raise ValueError(
                f"d_model={self.d_model} does not divide among n_head={self.n_head} heads; "
                f"choose a d_model that is a multiple of {self.n_head}"
            )
        if self.head_dim % 2:
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

    @property
    def head_dim(self) -> int:
        """The size of one head: d_model / n_head."""
        return self.d_model // self.n_head

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
                4 d_model for ReLU squared: about as many parameters either way.
            **overrides: Any other field, in place of the preset's.

        Raises:
            TypeError, ValueError: No such preset or field; further as the class.
        """
        if name not in _VARIATIONS:
            raise ValueError(f"preset {name!r}: it must be one of {', '.join(PRESETS)}")
        _reject_unknown(overrides)
        chosen = {**_VARIATIONS[name], **overrides}
        if d_ff is None and isinstance(d_model, int):
            if chosen["mlp"] == "swiglu":
                d_ff = max(64, round(8 * d_model / 3 / 64) * 64)
            else:
                d_ff = 4 * d_model
        return cls(
            vocab_size=vocab_size,
            context_length=context_length,
            d_model=d_model,
            n_layer=n_layer,
            n_head=n_head,
            n_kv_head=n_head if n_kv_head is None else n_kv_head,
            d_ff=d_ff,
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


_INTEGERS: Final = (
    "vocab_size", "context_length", "d_model", "n_layer", "n_head", "n_kv_head", "d_ff",
)  # fmt: skip


def _reject_unknown(values: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(ModelConfig)]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"unknown field of the model config: {', '.join(map(str, unknown))}; "
            f"the fields are {', '.join(known)}"
        )
