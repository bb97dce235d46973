"""Low-rank adapters (LoRA, Hu et al. 2021): few weights that are trained beside frozen ones.

A matrix W (d_out, d_in) becomes W + (alpha / rank) B A, with B (d_out, rank), which starts at 0,
and A (rank, d_in). Only A and B are trained. `merged` adds them up to a plain model, which computes
the same; so do `bytemill.lm.generate` before it decodes, and checkpoints when they are loaded for
anything but going on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from bytemill.lm.model import ops
from bytemill.lm.model.layers import Linear, draw_
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.model.variants import Normal

TARGETS: Final = ("q_proj", "k_proj", "v_proj", "output_proj", "w1", "w2", "w3")
"""The layers' matrices, by the names that they have there. w3 is SwiGLU's alone."""
_A, _B, _SCALE = ".lora_a", ".lora_b", ".lora_scale"


@dataclass(frozen=True)
class Lora:
    """Which matrices get adapters, and of what size.

    Raises:
        ValueError: A field is out of range, or a target is not a matrix of the layers.
    """

    rank: int = 8
    """r: numbers that a row or a column of an adapter has."""
    alpha: float = 16.0
    """The adapters' product is multiplied by alpha / rank."""
    targets: tuple[str, ...] = TARGETS
    """Names out of `TARGETS`."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora_rank={self.rank}: it must be at least 1")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ValueError(f"lora_alpha={self.alpha}: it must be a number above 0")
        if unknown := [name for name in self.targets if name not in TARGETS]:
            raise ValueError(
                f"lora_targets={','.join(self.targets)!r}: there is no {unknown[0]!r}; the "
                f"matrices are {', '.join(TARGETS)}"
            )
        if not self.targets:
            raise ValueError(f"lora_targets='': name some of {', '.join(TARGETS)}")


class LoraLinear(Linear):
    """A `Linear` whose own weight and bias are frozen, and adapters: `lora_a`, `lora_b`.

    Args:
        linear: Whose weight and bias it takes, the same tensors.
        lora: The size.
        generator: For A; None is torch's global one.
    """

    lora_scale: Tensor

    def __init__(
        self, linear: Linear, lora: Lora, generator: torch.Generator | None = None
    ) -> None:
        d_out, d_in = linear.weight.shape
        bias = linear.bias is not None
        super().__init__(d_in, d_out, bias=bias, start=linear.start, device="meta")
        self.weight, self.bias, self.product = linear.weight, linear.bias, linear.product
        self.requires_grad_(False)
        self.lora_a = nn.Parameter(self.weight.new_empty(lora.rank, d_in))
        self.lora_b = nn.Parameter(self.weight.new_empty(d_out, lora.rank))
        # Saved with them: without it they say nothing.
        scale = torch.tensor(lora.alpha / lora.rank, device=self.weight.device)
        self.register_buffer("lora_scale", scale)
        self.reset_adapters(generator)

    def reset_adapters(self, generator: torch.Generator | None = None) -> None:
        """Draws A with a deviation of 1 / sqrt(d_in), and sets B to 0."""
        draw_(self.lora_a, Normal(self.lora_a.shape[1] ** -0.5, cut=None), generator)
        draw_(self.lora_b, Normal(0.0), generator)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) times the transposed sum of weight and adapters, plus the bias."""
        y = super().forward(x)
        low = ops.linear(ops.linear(x, self.lora_a), self.lora_b)
        return y + low * self.lora_scale.to(low.dtype)


def add_adapters(
    model: Transformer, lora: Lora, generator: torch.Generator | None = None
) -> list[str]:
    """Freezes all weights of a model, in place, and gives matrices of its layers adapters.

    The model computes what it did, as long as the adapters are not trained.

    Args:
        model: A `Transformer`, without adapters.
        lora: Which matrices, and what size.
        generator: For the adapters' values; None is torch's global one.

    Returns:
        The names of the matrices.

    Raises:
        ValueError: It has adapters already; or no matrix by one of the names, as a model without
            SwiGLU has no w3.
    """
    if has_adapters(model):
        raise ValueError("the model has adapters already; merge them first")
    found = [
        (name, module)
        for name, module in model.layers.named_modules()
        if isinstance(module, Linear) and name.rpartition(".")[2] in lora.targets
    ]
    there = {name.rpartition(".")[2] for name, _ in found}
    if lora.targets != TARGETS and (absent := [n for n in lora.targets if n not in there]):
        raise ValueError(
            f"lora_targets={','.join(lora.targets)!r}: the model has no {absent[0]!r}; its "
            f"matrices are {', '.join(n for n in TARGETS if n in _names(model))}"
        )
    model.requires_grad_(False)
    for name, module in found:
        parent, _, own = name.rpartition(".")
        adapted = LoraLinear(module, lora, generator)
        setattr(model.layers.get_submodule(parent), own, adapted.train(module.training))
    return [f"layers.{name}" for name, _ in found]


def has_adapters(model: nn.Module) -> bool:
    """Whether there are adapters in it."""
    return any(isinstance(module, LoraLinear) for module in model.modules())


def merged(model: Transformer) -> Transformer:
    """A plain model that computes the same, with weights of its own."""
    first = next(model.parameters())
    result = Transformer(model.config, device="meta").to_empty(device=first.device)
    result = result.to(first.dtype)
    result.load_state_dict(merged_weights(model.state_dict()))
    return result.train(model.training)


def merged_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the adapters in it added to the matrices that they are of."""
    result = {k: t for k, t in weights.items() if not k.endswith((_A, _B, _SCALE))}
    for name in [k.removesuffix(_A) for k in weights if k.endswith(_A)]:
        matrix = weights[f"{name}.weight"]
        scale = weights[f"{name}{_SCALE}"].float()
        low = weights[name + _B].float() @ weights[name + _A].float()
        result[f"{name}.weight"] = (matrix.float() + scale * low).to(matrix.dtype)
    return result


def adapters_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a state dict belongs to adapters."""
    return {name: t for name, t in weights.items() if name.endswith((_A, _B, _SCALE))}


def _names(model: Transformer) -> Sequence[str]:
    return [
        name.rpartition(".")[2]
        for name, module in model.layers.named_modules()
        if isinstance(module, Linear)
    ]
