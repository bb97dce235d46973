"""Rotary position embedding (RoPE): Su et al. 2021, "RoFormer", section 3.2.2.

Pairs are interleaved: dimensions 2i and 2i+1 of a head turn together, as in the paper and in
CS336. Many published models turn dimensions i and i + head_dim/2 together instead. The two are the
same model up to a fixed permutation of the rows of the query and key projections, which leaves
every score q.k as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bytemill.lm.model.kernels import aside, widened


def rope_table(head_dim: int, length: int, theta: float = 10_000.0) -> Tensor:
    """Cosines and sines of every position's angles.

    The angle of pair i at position p is p * theta^(-2i/head_dim). It is computed in fp64: in fp32
    an angle of 32,768 is already off by 1e-3.

    Returns:
        (length, head_dim / 2, 2) fp32 on the CPU; the last axis is (cos, sin).

    Raises:
        ValueError: The head size is odd or not positive.
    """
    if head_dim < 2 or head_dim % 2:
        raise ValueError(f"head_dim={head_dim}: RoPE turns pairs, so it must be even and positive")
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu")
    frequencies = theta ** (-pairs / head_dim)
    positions = torch.arange(length, dtype=torch.float64, device="cpu")
    angles = torch.outer(positions, frequencies)
    return torch.stack((angles.cos(), angles.sin()), -1).float()


def rope(x: Tensor, table: Tensor) -> Tensor:
    """Turns each pair (2i, 2i+1) of x by its position's angle; computed in fp32 (fp64 for that).

    Args:
        x: (..., T, d).
        table: The rows of `rope_table` for x's positions, (T, d / 2, 2), or anything that
            broadcasts to (..., T, d / 2, 2). With heads after positions, x being (..., T, H, d),
            it is (..., T, 1, d / 2, 2).

    Returns:
        Like x, in x's dtype.
    """
    wide = widened(x).contiguous()
    pairs = wide.view(*x.shape[:-1], -1, 2)
    if x.device.type == "cpu" and not (torch.compiler.is_compiling() or aside(x, table)):
        # One pass over memory. Inductor has no complex kernels, hence the other form.
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    else:
        even, odd = pairs.unbind(-1)
        cos, sin = table.unbind(-1)
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return turned.flatten(-2).to(x.dtype)


class Rope(nn.Module):
    """The table for a context length, kept in fp32 whatever dtype the model is moved to."""

    table: Tensor

    def __init__(
        self,
        head_dim: int,
        length: int,
        theta: float = 10_000.0,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self._shape = (head_dim, length, theta)
        self.register_buffer("table", rope_table(*self._shape).to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rope:
        # What `.to`, `.cuda` and `.to_empty` go through. It may round the table or leave it
        # without values, so make it again where it now is.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.table = rope_table(*self._shape).to(self.table.device)
        return self

    def forward(self, x: Tensor, positions: Tensor | int = 0) -> Tensor:
        """Turns x at its positions.

        Args:
            x: (..., T, d).
            positions: (..., T) int64, broadcast over x's axes, or the first of T in a row.
        """
        return rope(x, self.at(x.shape[-2], positions))

    def at(self, length: int, positions: Tensor | int = 0) -> Tensor:
        """The table's rows for `length` positions from `positions` on, or for a tensor of them."""
        if isinstance(positions, Tensor):
            return self.table[positions]
        return self.table[positions : positions + length]
