"""The model's elementary operations, on whatever device and in whatever dtype."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.model import kernels
from bytemill.lm.model.arguments import check_range


def compute_dtype(x: Tensor) -> torch.dtype:
    """Autocast's dtype if it is on for x's device, else x's own."""
    return kernels.autocast_dtype(x.device.type) or x.dtype


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T.

    Args:
        x: (..., d_in).
        weight: (d_out, d_in).

    Returns:
        (..., d_out).
    """
    if kernels.has_onednn(x, weight) and kernels.autocast_dtype("cpu") is None:
        out: Tensor = kernels.OneDnnLinear.apply(x.reshape(-1, x.shape[-1]), weight)
        return out.view(*x.shape[:-1], -1)
    return F.linear(x, weight)


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of a table.

    Args:
        ids: (...) int64, from 0 up to V.
        weight: (V, C).

    Returns:
        (..., C).

    Raises:
        TypeError: ids are not integers.
        ValueError: One of them is not in the vocabulary (on the CPU; on CUDA a device-side
            assertion is triggered).
    """
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"ids of {ids.dtype}: they must be int64")
    try:
        return F.embedding(ids, weight)
    except IndexError:
        check_range(ids, weight.shape[0], "id", "is this the tokenizer that the table is for?")
        raise


def rmsnorm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: Zhang and Sennrich 2019, equation 4.

    Computed in fp32, or in fp64 for that.

    Args:
        x: (..., C).
        weight: (C,), or None for none.
        eps: Added to the mean square.

    Returns:
        (..., C) in autocast's dtype, or x's without autocast.
    """
    dtype = compute_dtype(x)
    fast = x.device.type == "cpu" and x.dtype.itemsize <= 4 and not torch.compiler.is_compiling()
    if fast and not kernels.aside(*((x,) if weight is None else (x, weight))):
        out: Tensor = kernels.RmsNorm.apply(x, weight, eps, dtype)
        return out
    return kernels.plain_rmsnorm(x, weight, eps, dtype)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), any shape: Hendrycks and Gimpel 2016, section 2 (there "SiL")."""
    return F.silu(x)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, the inner part of SwiGLU; any one shape."""
    return F.silu(gate) * up


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2, any shape: So et al. 2021, "Primer", section 4."""
    if torch.compiler.is_compiling() or kernels.aside(x):
        return F.relu(x).square()
    out: Tensor = kernels.ReluSquared.apply(x)
    return out


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution's share below x, any shape, in the approximation by tanh:
    Hendrycks and Gimpel 2016, section 2."""
    return F.gelu(x, approximate="tanh")


def layernorm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis: Ba et al. 2016.

    Computed in fp32, or in fp64 for that.

    Args:
        x: (..., C).
        weight, bias: (C,), or None for none.
        eps: Added to the variance.

    Returns:
        (..., C) in autocast's dtype, or x's without autocast.
    """
    wide = kernels.widened(x)
    weight = None if weight is None else weight.to(wide.dtype)
    bias = None if bias is None else bias.to(wide.dtype)
    return F.layer_norm(wide, x.shape[-1:], weight, bias, eps).to(compute_dtype(x))


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Sets a share of numbers to 0, and multiplies the others by 1 / (1 - share), any shape.

    Srivastava et al. 2014, in its inverted form. Drawn from torch's global generator of x's device;
    x itself out of training, or for a share of 0, which draws nothing.
    """
    return F.dropout(x, share) if training and share else x
