"""The model's elementary operations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T.

    Args:
        x: (..., d_in).
        weight: (d_out, d_in).

    Returns:
        (..., d_out).
    """
    return F.linear(x, weight)


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of a table.

    Args:
        ids: (...) int64, from 0 up to V.
        weight: (V, C).

    Returns:
        (..., C).
    """
    return F.embedding(ids, weight)


def rmsnorm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: Zhang and Sennrich 2019, equation 4.

    Computed in fp32.

    Args:
        x: (..., C).
        weight: (C,), or None for none.
        eps: Added to the mean square.

    Returns:
        (..., C) in x's dtype.
    """
    wide = x.float() if x.dtype.itemsize < 4 else x
    out = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        out = out * weight
    return out.to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), any shape: Hendrycks and Gimpel 2016, section 2 (there "SiL")."""
    return F.silu(x)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, the inner part of SwiGLU; any one shape."""
    return F.silu(gate) * up


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2, any shape: So et al. 2021, "Primer", section 4."""
    return F.relu(x).square()
