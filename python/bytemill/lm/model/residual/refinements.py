"""What nanochat's models of 2026 add to the residual stream; `Transformer` says where.

Each is a switch of `ModelConfig`; the figures are in `bytemill.lm.model.variants`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from bytemill.lm.model import ops
from bytemill.lm.model.documents import current
from bytemill.lm.model.layers import Device, Linear
from bytemill.lm.model.variants import GATE_START, SMEAR_GATE_WIDTH, SMEAR_START


class Scalars(nn.Module):
    """A few learned numbers, such as one for each layer: `weight`, (n,), which is read, not called.

    A number alone, such as weight[0], takes the dtype of what it is multiplied with.

    Args:
        n: How many.
        first, last: What they start with, evenly from one to the other.
    """

    def __init__(
        self,
        n: int,
        first: float,
        last: float,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.ends = first, last
        self.weight = nn.Parameter(torch.empty(n, device=device, dtype=dtype))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Sets the numbers to what they start with; nothing is drawn."""
        if not (self.weight.is_meta or isinstance(self.weight, FakeTensor)):
            first, last = self.ends
            steps = max(len(self.weight) - 1, 1)
            numbers = [first + (last - first) * i / steps for i in range(len(self.weight))]
            self.weight.copy_(torch.tensor(numbers))


class Smear(nn.Module):
    """Lets a share of the vector before into each: x_t + s sigmoid(w x_t[:24]) x_(t-1).

    w is `gate.weight`, (1, 24 or C), s is `scale.weight`, (1,). The scale starts at 0.

    Args:
        d_model: C.
        **factory: `device`, `dtype` and `generator`, as of `Linear`.
    """

    def __init__(self, d_model: int, **factory: Any) -> None:
        super().__init__()
        self.gate = Linear(min(d_model, SMEAR_GATE_WIDTH), 1, start=GATE_START, **factory)
        self.scale = Scalars(1, SMEAR_START, SMEAR_START, **factory)

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """x (B, T, C), each with a share of the one before.

        Args:
            x: The vectors.
            before: Those before the first ones, (B, 1, C), of zeros where there is none; None is
                zeros for all.
        """
        first = torch.zeros_like(x[:, :1]) if before is None else before.to(x.dtype)
        previous = torch.cat((first, x[:, :-1]), 1)
        if (documents := current()) is not None:  # what ends one is not before the next
            previous = previous.masked_fill(documents.begins[..., None], 0)
        narrow = x[..., :SMEAR_GATE_WIDTH]
        gate: Tensor = self.gate(narrow.to(ops.compute_dtype(narrow))).sigmoid()
        return x + self.scale.weight[0] * gate * previous
