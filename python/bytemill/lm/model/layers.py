"""The modules a Transformer is made of; what they compute is in `bytemill.lm.functional`.

Each starts with the weights that its `reset_parameters` documents, whether made alone or as part of
a model. Matrices are normal with variance 2 / (d_in + d_out), embeddings with variance 1, both cut
at three standard deviations (CS336 assignment 1, section 3.4.1); norms' weights are 1. All take
`device` and `dtype` of their weights (torch's defaults; on "meta" they get no values) and a
`generator` to draw from (torch's global one if None).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bytemill.lm.model import ops
from bytemill.lm.model.variants import MLPS, Mlp, Normal, Start, Uniform

Device = torch.device | str | None


@torch.no_grad()
def draw_(weight: Tensor, start: Start, generator: torch.Generator | None) -> None:
    """Fills a weight from a distribution; nothing is drawn for a deviation of 0."""
    # Importing FakeTensor would import sympy; where it is not, no tensor is one.
    fake = sys.modules.get("torch._subclasses.fake_tensor")
    if weight.is_meta or (fake is not None and isinstance(weight, fake.FakeTensor)):
        return  # it has no values
    if isinstance(start, Normal) and start.std == 0:
        weight.zero_()
        return
    # Drawn where the generator lives, so that a seed gives one model on every device.
    device = weight.device if generator is None else generator.device
    drawn = torch.empty(weight.shape, device=device)
    if isinstance(start, Uniform):
        drawn.uniform_(start.low, start.high, generator=generator)
    elif start.cut is None:
        drawn.normal_(0.0, start.std, generator=generator)
    else:
        most = start.cut * start.std
        nn.init.trunc_normal_(drawn, 0.0, start.std, -most, most, generator=generator)
    weight.copy_(drawn)


class Linear(nn.Module):
    """(..., d_in) to (..., d_out); `weight` is (d_out, d_in), `bias` (d_out,) or None.

    Args:
        d_in, d_out: Its widths.
        bias: Whether it has one, which starts at 0.
        start: What the weight is drawn from; if None, a normal distribution with a deviation of
            sqrt(2 / (d_in + d_out)), cut at three.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        bias: bool = False,
        start: Start | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.start = Normal(math.sqrt(2 / (d_in + d_out))) if start is None else start
        self.weight = nn.Parameter(torch.empty(d_out, d_in, device=device, dtype=dtype))
        self.bias: nn.Parameter | None
        own = nn.Parameter(torch.empty(d_out, device=device, dtype=dtype)) if bias else None
        self.register_parameter("bias", own)
        self.product: Callable[[Tensor, Tensor], Tensor] | None = None
        """What multiplies in training instead of `ops.linear`, such as `fp8.fp8_linear`."""
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws the weight anew, and sets the bias to 0."""
        draw_(self.weight, self.start, generator)
        if self.bias is not None:
            draw_(self.bias, Normal(0.0), generator)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) times the transposed weight, plus the bias."""
        if self.product is not None and self.training:
            y = self.product(x, self.weight)
        else:
            y = ops.linear(x, self.weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class Embedding(nn.Module):
    """Ids (...) to vectors (..., C); `weight` is (V, C).

    Args:
        vocab_size, d_model: V and C.
        start: What the weight is drawn from; if None, a normal distribution with a deviation of 1,
            cut at three.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        start: Start | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.start = Normal(1.0) if start is None else start
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model, device=device, dtype=dtype))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws the weight anew."""
        draw_(self.weight, self.start, generator)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the weight."""
        return ops.embedding(ids, self.weight)


class TiedHead(nn.Module):
    """A `Linear` (..., C) to (..., V) without a weight of its own: it uses an embedding's.

    So the weight is one parameter under one name, whatever is done to the model: moved, copied,
    saved. A head that is put in place of this one is no longer tied.
    """

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        # In a tuple, so that it does not become a submodule.
        self.tied_to = (embedding,)

    @property
    def weight(self) -> nn.Parameter:
        """The embedding's, (V, C)."""
        return self.tied_to[0].weight

    def forward(self, x: Tensor) -> Tensor:
        """x (..., C) times the transposed weight."""
        return ops.linear(x, self.weight)


class RMSNorm(nn.Module):
    """RMSNorm over the last axis; `weight` is (size,), or None without weights."""

    def __init__(
        self,
        size: int,
        eps: float = 1e-5,
        weights: bool = True,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight: nn.Parameter | None
        weight = nn.Parameter(torch.empty(size, device=device, dtype=dtype)) if weights else None
        self.register_parameter("weight", weight)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Sets the weight to 1; nothing is drawn."""
        if self.weight is not None:
            self.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """x over its root mean square, times the weight."""
        return ops.rmsnorm(x, self.weight, self.eps)


class LayerNorm(nn.Module):
    """LayerNorm over the last axis; `weight` and `bias` are (size,), or None without.

    Args:
        size: C.
        eps: Added to the variance.
        weights, bias: Whether it has them.
    """

    def __init__(
        self,
        size: int,
        eps: float = 1e-5,
        weights: bool = True,
        *,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        for name, is_there in (("weight", weights), ("bias", bias)):
            own = nn.Parameter(torch.empty(size, device=device, dtype=dtype)) if is_there else None
            self.register_parameter(name, own)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Sets the weight to 1 and the bias to 0; nothing is drawn."""
        if self.weight is not None:
            self.weight.fill_(1.0)
        if self.bias is not None:
            self.bias.fill_(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """x less its mean over its standard deviation, times the weight, plus the bias."""
        return ops.layernorm(x, self.weight, self.bias, self.eps)


class FeedForward(nn.Module):
    """(..., C) to (..., C) by way of d_ff.

    Args:
        d_model, d_ff: C and d_ff.
        mlp: What it computes between its matrices: see `bytemill.lm.model.variants.MLPS`.
        start: Of w1 and w3, as of `Linear`.
        output_start: Of w2.
        bias: Whether its matrices have biases.
        **factory: `device`, `dtype` and `generator`, as of `Linear`.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        mlp: Mlp = "swiglu",
        *,
        start: Start | None = None,
        output_start: Start | None = None,
        bias: bool = False,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.mlp: Mlp = mlp
        factory["bias"] = bias
        self.w1 = Linear(d_model, d_ff, start=start, **factory)
        self.w2 = Linear(d_ff, d_model, start=output_start, **factory)
        if MLPS[mlp].n_up == 2:
            self.w3 = Linear(d_model, d_ff, start=start, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """w2(silu(w1 x) * w3 x) for SwiGLU; w2(f(w1 x)) without a gate."""
        activation = MLPS[self.mlp]
        x = x.to(ops.compute_dtype(x))  # once, and not by each matrix
        up = [self.w1(x), self.w3(x)] if activation.n_up == 2 else [self.w1(x)]
        return self.w2(activation.plain(*up))  # type: ignore[no-any-return]
