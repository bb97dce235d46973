"""What models differ in: each variant is declared here once, and asked for what it does.

Training, the cached forward pass, decoding, initialization and accounting read these tables; none
of them knows a variant by name. To add one:

- An activation: its function in `ops`, its name in `Mlp`, its entry in `MLPS`.
- A place for the norms: its name in `NormPosition` and its entry in `NORM_POSITIONS`. Where it does
  what no flag of `NormPlaces` says yet, a flag, which the two walks through a block read:
  `residual.block.Block.forward` and `bytemill.lm.generate.step.Step.logits`.
- A kind of norm: its name in `Norm`, its module in `layers`, its place in
  `bytemill.lm.generate.step` and in `accounting`.
- A sight (which tokens a layer sees): `ModelConfig.windows`, and `cache.sees`.
- Initial values: the name in `Init` and the entry in `INITS`.
- A change of the residual stream or of attention's values: a switch in `ModelConfig`, its figures
  below, its module in `residual.refinements`, and its place in the two walks and in `accounting`.

Every test of `tests/lm/model/test_variants.py` takes the names from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.model import ops

Mlp: TypeAlias = Literal["swiglu", "silu", "relu2", "gelu"]
Norm: TypeAlias = Literal["rms", "layer"]
NormPosition: TypeAlias = Literal["pre", "post", "none"]
Position: TypeAlias = Literal["rope", "learned", "none"]
Init: TypeAlias = Literal["normal", "uniform"]


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
    # w2(gelu(w1 x)): Hendrycks and Gimpel 2016, as in GPT-2.
    "gelu": Activation(1, ops.gelu, ops.gelu, 2, _four_times),
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


@dataclass(frozen=True)
class Normal:
    """Numbers drawn from a normal distribution about 0; all 0 for a deviation of 0."""

    std: float
    cut: float | None = 3.0
    """After how many deviations it is cut; None for nowhere."""


@dataclass(frozen=True)
class Uniform:
    """Numbers drawn evenly from an interval."""

    low: float
    high: float

    @classmethod
    def of_std(cls, std: float) -> Uniform:
        """About 0, with this standard deviation."""
        return cls(-math.sqrt(3) * std, math.sqrt(3) * std)


Start: TypeAlias = Normal | Uniform


@dataclass(frozen=True)
class InitialValues:
    """What the weights start with that do not write into the residual stream."""

    embedding: Normal
    attention: Callable[[int], Start | None]
    """Of queries, keys and values, for a width of C; None for a `Linear`'s own."""
    feed_forward: Callable[[int], Start | None]
    """Of the matrices up to d_ff."""


INITS: Final[dict[Init, InitialValues]] = {
    # CS336, assignment 1, section 3.4.1 (Glorot and Bengio 2010).
    "normal": InitialValues(Normal(1.0), lambda _: None, lambda _: None),
    # nanochat's of 2026: a deviation of 1 / sqrt(C), of 0.4 times that into the feed-forward layer.
    "uniform": InitialValues(
        Normal(0.8, cut=None),
        lambda width: Uniform.of_std(width**-0.5),
        lambda width: Uniform.of_std(0.4 * width**-0.5),
    ),
}

POSITION_START: Final = 0.02
"""The deviation of learned positions, as in GPT-2."""

# nanochat's of 2026, for the switches of `ModelConfig`. Gates look at the first so many numbers of
# a vector, or at all if there are fewer.
VALUE_GATE_WIDTH: Final = 12
VALUE_GATE_MOST: Final = 3.0
SMEAR_GATE_WIDTH: Final = 24
GATE_START: Final = Uniform(0.0, 0.02)
RESID_START: Final = (1.15, 1.05)
"""At the first layer and at the last, evenly in between."""
X0_START: Final = (0.20, 0.05)
SMEAR_START: Final = 0.0
BACKOUT_START: Final = 0.2


def has_value_embedding(layer: int, n_layer: int) -> bool:
    """Whether a layer, counted from 0, is one of those that have: every other one, the last among
    them."""
    return layer % 2 == (n_layer - 1) % 2


def window_of_a_quarter(length: int) -> int:
    """A quarter of the context in whole blocks of 128, for layers that see part of it."""
    return -(-length // 4 // 128) * 128
