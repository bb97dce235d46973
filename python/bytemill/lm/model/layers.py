"""The modules a Transformer is made of; what they compute is in `bytemill.lm.functional`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bytemill.lm.model import ops


class Linear(nn.Module):
    """(..., d_in) to (..., d_out), without bias; `weight` is (d_out, d_in)."""

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) times the transposed weight."""
        return ops.linear(x, self.weight)


class Embedding(nn.Module):
    """Ids (...) to vectors (..., C); `weight` is (V, C)."""

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model, device=device, dtype=dtype))

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the weight."""
        return ops.embedding(ids, self.weight)


class RMSNorm(nn.Module):
    """RMSNorm over the last axis; `weight` is (size,), or None without weights."""

    def __init__(
        self,
        size: int,
        eps: float = 1e-5,
        weights: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight: nn.Parameter | None
        weight = nn.Parameter(torch.empty(size, device=device, dtype=dtype)) if weights else None
        self.register_parameter("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """x over its root mean square, times the weight."""
        return ops.rmsnorm(x, self.weight, self.eps)


class FeedForward(nn.Module):
    """(B, T, C) to (B, T, C) by way of d_ff: SwiGLU or ReLU squared."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        gated: bool,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.gated = gated
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)
        if gated:
            self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """w2(silu(w1 x) * w3 x), or w2(relu(w1 x)^2)."""
        if self.gated:
            return self.w2(ops.silu_mul(self.w1(x), self.w3(x)))  # type: ignore[no-any-return]
        return self.w2(ops.relu_squared(self.w1(x)))  # type: ignore[no-any-return]
