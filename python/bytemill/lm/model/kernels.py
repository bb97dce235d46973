"""Faster forms of some operations for training on a CPU; `bytemill.lm.model.ops` chooses.

Each computes what the plain form beside it does, and is tested against it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Below so many rows a product is bound by reading the weight, where oneDNN gains nothing.
_FEW_ROWS = 16


def widened(x: Tensor) -> Tensor:
    """x in fp32; fp64 stays."""
    return x.float() if x.dtype.itemsize < 4 else x


def has_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether the product of x (N, K) and a weight (M, K) goes through oneDNN here.

    torch gives fp32 products to MKL; on the AMD processor this was measured on, oneDNN takes half
    the time. Others were not measured. `torch.backends.mkldnn.flags(enabled=False)` turns it off.
    """
    return (
        not torch.compiler.is_compiling()  # Inductor wants the weight to be a constant
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() >= _FEW_ROWS * x.shape[-1]
        and torch._C._has_mkldnn
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a b^T, with a (N, K) and b (M, K) laid out in any way; without gradient."""
    if has_onednn(a, b):
        return _onednn(a, b)
    return a @ b.t()


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return out


class OneDnnLinear(torch.autograd.Function):
    """`torch.nn.functional.linear` of x (N, K) and a weight (M, K), both fp32 on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """x weight^T, (N, M)."""
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        return (
            _onednn(grad, weight.t()) if wants_x else None,
            _onednn(grad.t(), x.t()) if wants_weight else None,
        )


class RmsNorm(torch.autograd.Function):
    """`ops.rmsnorm` in few passes over memory; it keeps x and one number for each row."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, eps: float, dtype: torch.dtype
    ) -> Tensor:
        """x over its root mean square, times the weight, in `dtype`."""
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        out = wide * scale
        if weight is not None:
            out.mul_(weight)
        narrow: Tensor = out.to(dtype)
        return narrow

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight.

        With s the scale and g the gradient times the weight, x's is g s - x s^3 mean(g x).
        """
        x, weight, scale = ctx.saved_tensors
        wide, grad = x.float(), grad.float()
        product = grad * wide
        grad_weight = None
        if weight is None:
            mean, grad_x = product.mean(-1, keepdim=True), grad * scale
        else:
            flat = product.flatten(0, -2)
            if ctx.needs_input_grad[1]:
                grad_weight = torch.mv(flat.t(), scale.flatten()).to(weight.dtype)
            mean = torch.mv(flat, weight.float()).view_as(scale).div_(x.shape[-1])
            grad_x = (grad * weight).mul_(scale)
        grad_x.addcmul_(wide, mean.mul_(scale.pow(3)), value=-1)
        return grad_x.to(x.dtype), grad_weight, None, None


class ReluSquared(torch.autograd.Function):
    """max(x, 0)^2; it keeps max(x, 0), of which the gradient is twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """max(x, 0)^2."""
        kept = F.relu(x)
        ctx.save_for_backward(kept)
        return kept.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """2 max(x, 0) times the gradient."""
        (kept,) = ctx.saved_tensors
        return (kept * grad).mul_(2)  # type: ignore[no-any-return]
