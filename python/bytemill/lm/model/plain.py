"""Whether modules still compute what they were written to: what fast paths beside them must know.

A path that reads a module's weights instead of calling it is right only if the call would do
nothing else. Hooks, wrappers, replaced parts, parametrizations and compiled modules are legitimate;
where there are any, the modules themselves are called.
"""

from __future__ import annotations

from typing import TypeGuard

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from bytemill.lm.model.layers import Linear, TiedHead

# What `nn.Module` keeps for itself in each module's __dict__; hooks are looked at beside.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_GLOBAL_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")


def hooked(module: nn.Module) -> str | None:
    """What runs beside or instead of the module's own `forward`, in words; None if nothing does."""
    if any(getattr(torch_module, name, None) for name in _GLOBAL_HOOKS):
        return "a forward hook for all modules"
    if any(getattr(module, name) for name in _HOOKS):
        return "a forward hook"
    if "forward" in module.__dict__:
        return "a forward of its own"
    if module._compiled_call_impl is not None:
        return "a compiled forward"
    return None


def has_plain_weight(head: nn.Module) -> TypeGuard[Linear | TiedHead]:
    """Whether calling a head is multiplying by its weight, and nothing else."""
    kind = type(head)
    if (kind is not Linear and kind is not TiedHead) or hooked(head) is not None:
        return False
    if isinstance(head, Linear) and head.bias is not None:
        return False
    source = head.tied_to[0] if isinstance(head, TiedHead) else head
    return is_plain_parameter(source._parameters.get("weight"))


def is_plain_parameter(weight: Tensor | None) -> bool:
    """Whether it is a floating-point parameter, and not one of a subclass such as a quantized."""
    return (
        type(weight) is nn.Parameter and type(weight.data) is Tensor and weight.is_floating_point()
    )
