"""Every part of a Transformer and its training as a plain function, on one page.

These are what `bytemill.lm`'s modules compute with; each says its shapes and its source.
"""

from __future__ import annotations

from torch import Tensor

from bytemill.lm.batches.loaders import get_batch
from bytemill.lm.model.attention import (
    causal_attention,
    multihead_self_attention,
    scaled_dot_product_attention,
    softmax,
)
from bytemill.lm.model.loss import chunked_cross_entropy, cross_entropy, softcap
from bytemill.lm.model.ops import dropout, embedding, linear, relu_squared, rmsnorm, silu, silu_mul
from bytemill.lm.model.rope import rope, rope_table
from bytemill.lm.optim.adamw import AdamW
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.schedule import cosine_schedule

__all__ = [
    "AdamW",
    "causal_attention",
    "chunked_cross_entropy",
    "clip_gradients",
    "cosine_schedule",
    "cross_entropy",
    "dropout",
    "embedding",
    "get_batch",
    "linear",
    "multihead_self_attention",
    "relu_squared",
    "rmsnorm",
    "rope",
    "rope_table",
    "scaled_dot_product_attention",
    "silu",
    "silu_mul",
    "softcap",
    "softmax",
    "swiglu",
]


def swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """w2(silu(w1 x) * w3 x): Shazeer 2020, "GLU Variants Improve Transformer", equation 6.

    Args:
        x: (..., C).
        w1: (d_ff, C).
        w2: (C, d_ff).
        w3: (d_ff, C).

    Returns:
        (..., C).
    """
    return linear(silu_mul(linear(x, w1), linear(x, w3)), w2)
