"""Products of matrices in 8-bit floating point, in training, on GPUs that have them (Hopper on).

Both factors of each product are brought to 8 bits anew in each step, with one scale for the whole
tensor (Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433): weights and activations as
E4M3, gradients, whose range is wider, as E5M2. Sums are made in fp32. So are all three products of
a `Linear`: of the forward pass, of the gradient of its input, and of that of its weight.

Only training is done so: out of training a layer computes as it does without. Embeddings and the
head never are, nor matrices whose sizes are not multiples of 16, such as gates.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from bytemill.lm.model import kernels
from bytemill.lm.model.layers import Linear

FORWARD: Final = torch.float8_e4m3fn
BACKWARD: Final = torch.float8_e5m2
_CAPABILITY: Final = (9, 0)
_MULTIPLE: Final = 16
_TINY: Final = 1e-30


def check_device(device: torch.device) -> None:
    """ValueError unless the device multiplies 8-bit numbers fast enough to be worth it."""
    remedy = "fp8 needs an NVIDIA GPU of compute capability 9.0 or more (Hopper); train without it"
    if device.type != "cuda":
        raise ValueError(f"fp8=True: the device is {device}; {remedy}")
    found = torch.cuda.get_device_capability(device)
    if found < _CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise ValueError(f"fp8=True: {name} has compute capability {found[0]}.{found[1]}; {remedy}")


def use_fp8(model: nn.Module, device: torch.device) -> int:
    """Makes the matrices of a model's layers multiply in 8 bits when it is trained.

    Args:
        model: A `Transformer`; of it the `Linear`s in its `layers`, with sizes of multiples of 16.
        device: Where it is trained.

    Returns:
        How many matrices that are.

    Raises:
        ValueError: The device cannot; see `check_device`.
    """
    check_device(device)
    layers = model.get_submodule("layers")
    found = [m for m in layers.modules() if type(m) is Linear and _fits(*m.weight.shape)]
    for module in found:
        module.product = fp8_linear
    return len(found)


def fp8_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T in 8 bits; in full where the rows are not a multiple of 16, over which the
    gradient of W is summed.

    Args:
        x: (..., d_in).
        weight: (d_out, d_in), both multiples of 16.

    Returns:
        (..., d_out) in autocast's dtype, or x's.
    """
    dtype = kernels.autocast_dtype(x.device.type) or x.dtype
    rows = x.reshape(-1, x.shape[-1])
    if not _fits(rows.shape[0]):
        return nn.functional.linear(x, weight)
    with kernels.without_autocast(x.device.type):
        out: Tensor = _Product.apply(rows.to(dtype), weight)
    return out.view(*x.shape[:-1], -1)


def to_fp8(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x in 8 bits, its largest number at the end of the dtype's range, and what that divides by.

    Args:
        x: Any shape.
        dtype: `FORWARD` or `BACKWARD`.

    Returns:
        The 8-bit numbers, of x's shape, and a scalar in fp32: x is nearly their product.
    """
    most = torch.finfo(dtype).max
    scale = x.abs().amax().float().clamp(min=_TINY) / most
    # Dividing may round up beyond the range, where E5M2 has infinity and E4M3 NaN.
    return (x.float() / scale).clamp(-most, most).to(dtype), scale


class _Product(torch.autograd.Function):
    """x (N, K) times the transposed weight (M, K); what it keeps is 8 bits wide."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x8, x_scale = to_fp8(x, FORWARD)
        w8, w_scale = to_fp8(weight, FORWARD)
        ctx.save_for_backward(x8, x_scale, w8, w_scale)
        ctx.dtypes = x.dtype, weight.dtype
        return _multiply(x8, w8, x_scale, w_scale, x.dtype, is_fast=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x8, x_scale, w8, w_scale = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        dtype, of_weight = ctx.dtypes
        g8, g_scale = to_fp8(grad, BACKWARD)
        grad_x = grad_weight = None
        if wants_x:
            grad_x = _multiply(g8, w8.t().contiguous(), g_scale, w_scale, dtype)
        if wants_weight:
            columns = g8.t().contiguous(), x8.t().contiguous()
            grad_weight = _multiply(*columns, g_scale, x_scale, dtype).to(of_weight)
        return grad_x, grad_weight


def _multiply(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    dtype: torch.dtype,
    *,
    is_fast: bool = False,
) -> Tensor:
    """a (N, K) times the transposed b (M, K), both in 8 bits, in `dtype`.

    Args:
        a, b: Rows as they lie in memory, as the GPU's product wants them.
        a_scale, b_scale: Of `to_fp8`.
        dtype: Of the result.
        is_fast: Sum in less than fp32, which is good enough for the forward pass.
    """
    if not _is_gpu(a):  # the same numbers, for tests
        return ((a.float() @ b.float().t()) * (a_scale * b_scale)).to(dtype)
    return torch._scaled_mm(
        a, b.t(), scale_a=a_scale, scale_b=b_scale, out_dtype=dtype, use_fast_accum=is_fast
    )


def _is_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def _fits(*sizes: int) -> bool:
    return all(size % _MULTIPLE == 0 for size in sizes)
