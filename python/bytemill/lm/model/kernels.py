"""Faster forms of some operations for training; `bytemill.lm.model.ops` chooses.

Each computes what the plain form beside it does, and is tested against it. Eager torch alone knows
them: they step aside for the plain form where something else looks at or transforms what is
computed (see `aside`), and inside `plain()`. A backward pass with create_graph=True is that of the
plain form, so that it can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

# Below so many rows a product is bound by reading the weight, where oneDNN gains nothing.
_FEW_ROWS = 16
_ORDINARY: Final = (Tensor, Parameter)
_VMAP: Final = torch._C._dispatch_key_parse("VmapMode")
_PLAIN: Final[ContextVar[bool]] = ContextVar("plain", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """Within it the model is made of torch's own operations alone, in this thread.

    For what cannot be found out beforehand: a gradient that is to be differentiated again, of which
    torch's fused attention is not capable. Attention is then made of products and a softmax, which
    holds all T x T scores, and the loss holds all logits.
    """
    before = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(before)


def transformed() -> bool:
    """Whether operations are differentiated or vectorized otherwise than by plain autograd.

    So it is within `torch.func`'s grad, vjp, jvp and vmap, in forward-mode differentiation, and
    inside `plain()`.
    """
    return (
        _PLAIN.get()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def watched() -> bool:
    """Whether a `TorchDispatchMode`, such as FlopCounterMode, or `torch.jit.trace` looks on."""
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._get_tracing_state() is not None


def aside(*tensors: Tensor) -> bool:
    """Whether the faster forms must not be used of these tensors, in eager torch.

    That is where operations are `transformed` or `watched`; for tensors without values (meta), and
    those of subclasses, such as FakeTensor and DTensor. It takes less than a microsecond.
    """
    if torch.compiler.is_compiling():
        return False  # callers know what compilers make of each
    return transformed() or watched() or any(type(x) not in _ORDINARY or x.is_meta for x in tensors)


def widened(x: Tensor) -> Tensor:
    """x in fp32; fp64 stays."""
    return x.float() if x.dtype.itemsize < 4 else x


def autocast_dtype(kind: str) -> torch.dtype | None:
    """What autocast computes in on this kind of device; None if it is off, or there is none."""
    # Tensors without values are of no device that autocast knows.
    on = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def without_autocast(kind: str) -> AbstractContextManager[object]:
    """The context in which autocast is off on this kind of device."""
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def has_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether the product of x (N, K) and a weight (M, K) goes through oneDNN here.

    torch gives fp32 products to MKL; on the AMD processor this was measured on, oneDNN takes half
    the time. Others were not measured. `torch.backends.mkldnn.flags(enabled=False)` turns it off.
    """
    return (
        not torch.compiler.is_compiling()  # Inductor wants the weight to be a constant
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and not aside(x, weight)
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        if differentiated(grad):
            return grad @ weight if wants_x else None, grad.t() @ x if wants_weight else None
        return (
            _onednn(grad, weight.t()) if wants_x else None,
            _onednn(grad.t(), x.t()) if wants_weight else None,
        )


def plain_rmsnorm(x: Tensor, weight: Tensor | None, eps: float, dtype: torch.dtype) -> Tensor:
    """x over its root mean square, times the weight, in `dtype`; computed in fp32 at least."""
    wide = widened(x)
    out = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        out = out * weight
    return out.to(dtype)


class RmsNorm(torch.autograd.Function):
    """`plain_rmsnorm` in few passes over memory; it keeps x and one number for each row."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, eps: float, dtype: torch.dtype
    ) -> Tensor:
        """x over its root mean square, times the weight, in `dtype`."""
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        ctx.plain = eps, dtype
        out = wide * scale
        if weight is not None:
            out.mul_(weight)
        narrow: Tensor = out.to(dtype)
        return narrow

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight.

        With s the scale and g the gradient times the weight, x's is g s - x s^3 mean(g x).
        """
        x, weight, scale = ctx.saved_tensors
        if differentiated(grad):
            return *gradients(plain_rmsnorm, (x, weight), ctx.plain, grad), None, None
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
    """max(x, 0)^2 in few passes over memory; it keeps x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """max(x, 0)^2."""
        ctx.save_for_backward(x)
        return F.relu(x).square_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """2 max(x, 0) times the gradient."""
        (x,) = ctx.saved_tensors
        if differentiated(grad):
            return 2 * F.relu(x) * grad
        return F.relu(x).mul_(grad).mul_(2)


def differentiated(grad: Tensor) -> bool:
    """Whether a backward pass of this gradient is itself differentiated or transformed."""
    return not torch.compiler.is_compiling() and (
        torch.is_grad_enabled()
        or aside(grad)
        # torch.autograd.grad's is_grads_batched vectorizes without torch.func.
        or torch._C._dispatch_tls_is_dispatch_key_included(_VMAP)
    )


def gradients(
    form: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    options: Sequence[Any],
    grad: Tensor,
) -> list[Tensor | None]:
    """Gradients of form(*inputs, *options) where inputs want them, made by autograd.

    They can be differentiated again if this backward pass is made with create_graph=True.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad(), without_autocast(grad.device.type):
        # Aliases, as one tensor can be two of the inputs.
        aliases = [None if x is None else x.view_as(x) for x in inputs]
        wanted = [x for x in aliases if x is not None and x.requires_grad]
        found = torch.autograd.grad(
            form(*aliases, *options), wanted, grad, create_graph=create_graph
        )
    rest = iter(found)
    return [next(rest) if x is not None and x.requires_grad else None for x in aliases]


class _Once(torch.autograd.Function):
    """Its input; who differentiates it is told why that cannot be."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise RuntimeError(
            "torch's fused attention cannot be differentiated twice: compute the loss inside "
            "`with bytemill.lm.model.kernels.plain():`, or use torch.func's transforms"
        )


def name_limits(y: Tensor) -> Tensor:
    """y, of which a second derivative raises RuntimeError with a remedy if torch has none."""
    node = None if torch.compiler.is_compiling() else y.grad_fn
    if node is not None and type(node).__name__.startswith("SliceBackward"):
        node = node.next_functions[0][0]  # it had heads padded, to a multiple of 8
    if node is not None and type(node).__name__.startswith("ScaledDotProduct"):
        node.register_hook(_once)
    return y


def _once(
    grad_inputs: tuple[Tensor | None, ...], grad_outputs: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...] | None:
    if not torch.is_grad_enabled():
        return None
    return tuple(None if grad is None else _Once.apply(grad) for grad in grad_inputs)
