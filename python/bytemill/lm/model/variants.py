"""What models differ in: each variant is declared here once, and asked for what it does.

Training, the cached forward pass, decoding, initialization and accounting read these tables; none
of them knows a variant by name. To add one:

- An activation: its function in `ops`, its name in `Mlp`, its entry in `MLPS`.
- A place for the norms: its name in `NormPosition` and its entry in `NORM_POSITIONS`. Where it does
  what no flag of `NormPlaces` says yet, a flag, which the two walks through a block read:
  `transformer.Block.forward` and `bytemill.lm.generate.step.Step.logits`.
- A sight (which tokens a layer sees): `ModelConfig.windows`, and `cache.sees`.

Every test of `tests/lm/model/test_variants.py` takes the names from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.model import ops

Mlp: TypeAlias = Literal["swiglu", "silu", "relu2"]
NormPosition: TypeAlias = Literal["pre", "post", "none"]
Position: TypeAlias = Literal["rope", "none"]


@dataclass(frozen=True)
class Activation:
    """What a feed-forward layer computes between the matrices that go up and the one down."""

    n_up: int
    """Matrices from C to d_ff. Together with the one back they are a layer's parameters."""
    plain: Callable[..., Tensor]
    """Of `n_up` tensors (..., d_ff), with gradient; (..., d_ff)."""
    joined: Callable[[Tensor], Tensor]
    """The same of one tensor (..., n_up * d_ff), which it may overwrite, without gradient."""
    kept: int
    """How many tensors (..., d_ff) autograd keeps for the backward pass."""
    width: Callable[[int], int]
    """d_ff for a width of C, where none is given."""


def _swiglu_joined(up: Tensor) -> Tensor:
    gate, up = up.chunk(2, -1)
    return F.silu(gate).mul_(up)


def _two_thirds(width: int) -> int:
    """8/3 of it, in multiples of 64: three matrices with the parameters of two at 4 times."""
    return max(64, round(8 * width / 3 / 64) * 64)


def _four_times(width: int) -> int:
    return 4 * width


MLPS: Final[dict[Mlp, Activation]] = {
    # w2(silu(w1 x) * w3 x): Shazeer 2020. Kept: both products, silu of one, and what w2 is given.
    "swiglu": Activation(2, ops.silu_mul, _swiglu_joined, 4, _two_thirds),
    # w2(silu(w1 x)): CS336's ablation of the gate.
    "silu": Activation(1, ops.silu, lambda up: F.silu(up, inplace=True), 2, _four_times),
    # w2(relu(w1 x)^2): So et al. 2021.
    "relu2": Activation(1, ops.relu_squared, lambda up: up.relu_().square_(), 2, _four_times),
}


@dataclass(frozen=True)
class NormPlaces:
    """Where a block's two norms stand, one for each sublayer f, and whether a last one follows."""

    before: bool
    """f(norm(x)) instead of f(x)."""
    after: bool
    """norm(x + f(x)) instead of x + f(x)."""
    final: bool
    """A norm between the last block and the head."""

    @property
    def in_blocks(self) -> bool:
        """Whether blocks have norms at all."""
        return self.before or self.after


NORM_POSITIONS: Final[dict[NormPosition, NormPlaces]] = {
    # x + f(norm(x)): Xiong et al. 2020.
    "pre": NormPlaces(before=True, after=False, final=True),
    # norm(x + f(x)): Vaswani et al. 2017, and CS336's ablation. The last block's output is
    # normalized already, so no other norm follows it.
    "post": NormPlaces(before=False, after=True, final=False),
    # x + f(x): CS336's ablation, which removes every RMSNorm, the last included.
    "none": NormPlaces(before=False, after=False, final=False),
}
