"""Clipping of gradients by their common norm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_gradients(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> Tensor:
    """Scales all gradients together so that their common L2 norm is at most `max_norm`.

    As torch.nn.utils.clip_grad_norm_ (CS336, section 4.5): the factor is
    max_norm / (norm + 1e-6), where that is below 1. Gradients that are None are left out.

    Returns:
        The norm before, a scalar in float32 on the gradients' device; NaN or infinite gradients
        make it so, and then the gradients are not to be used.

    Raises:
        ValueError: `max_norm` is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm={max_norm}: it must be above 0; to clip nothing, do not call")
    weights = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads = [weight.grad for weight in weights if weight.grad is not None]
    if not grads:
        return torch.zeros(())
    device = grads[0].device
    norms = [norm.float().to(device) for norm in torch._foreach_norm(grads)]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    # No branch on the norm's value: that would make a GPU wait.
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor.to(grad.device, grad.dtype))
    return total
