"""Choosing the next token: temperature, top-k, top-p, and a stream of chance for each row."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch
from torch import Tensor

from bytemill.lm.model.arguments import integer, integers, is_scalar, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ids: TypeAlias = "Sequence[int] | Tensor | NDArray[Any]"
"""Integers in an order."""

SEEDS: Final = 2**63
_BLOCK: Final = 64


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen from logits.

    Logits are divided by `temperature`; then all but the `top_k` greatest are left out, then all
    but the fewest tokens whose probabilities, renormalized, add up to `top_p` (nucleus sampling;
    Holtzman et al. 2020, https://arxiv.org/abs/1904.09751). Of equal logits that of the smaller id
    is taken to be the greater. What is left is drawn from in proportion to its probabilities.

    Raises:
        TypeError: A value is not a number (Python's, NumPy's or torch's).
        ValueError: A value is out of range.
    """

    temperature: float = 1.0
    """0 always takes the greatest logit, whatever else is said."""
    top_k: int | None = None
    """None for all; more than there are is all."""
    top_p: float | None = None
    """Above 0, up to 1; None for all."""

    def __post_init__(self) -> None:
        temperature = number("temperature", self.temperature)
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature={self.temperature}: it must be 0 (greedy) or greater")
        object.__setattr__(self, "temperature", temperature)
        if self.top_k is not None:
            top_k = integer("top_k", self.top_k)
            if top_k < 1:
                raise ValueError(
                    f"top_k={top_k}: it must be at least 1; leave it out to keep all tokens"
                )
            object.__setattr__(self, "top_k", top_k)
        if self.top_p is not None:
            top_p = number("top_p", self.top_p)
            if not 0 < top_p <= 1:
                raise ValueError(
                    f"top_p={self.top_p}: it must be above 0, up to 1; leave it out to keep all"
                )
            object.__setattr__(self, "top_p", top_p)

    @property
    def is_greedy(self) -> bool:
        """Whether chance plays no part."""
        return self.temperature == 0

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution to draw from, fp64, (B, V), for logits (B, V).

        Raises:
            ValueError: Temperature 0, where there is none.
        """
        if self.is_greedy:
            raise ValueError("temperature=0: there is no distribution; take the greatest logit")
        kept, ids = self._kept(logits)
        result = self._distribution(kept)
        if ids is None:
            return result
        return torch.zeros_like(logits, dtype=torch.float64).scatter_(-1, ids, result)

    def choose(self, logits: Tensor, chance: Tensor) -> Tensor:
        """A token for each row, (B,) int64.

        Args:
            logits: (B, V).
            chance: (B,) fp64 from [0, 1): what decides; each row's token depends on nothing else
                than its logits and its number.

        Raises:
            ValueError: A row has no greatest logit, or one that is not finite.
        """
        if self.is_greedy:
            most, tokens = logits.max(-1)
            if not bool(most.isfinite().all()):
                raise not_finite()
            return tokens
        kept, ids = self._kept(logits)
        sums = self._distribution(kept).cumsum(-1)
        total = sums[:, -1:]
        if not bool(total.isfinite().all()):
            raise not_finite()
        # The first token at which the sum exceeds the target; those of probability 0 add nothing,
        # so they cannot be the first.
        target = torch.minimum(chance.unsqueeze(-1) * total, total * (1 - 2.0**-40))
        found = torch.searchsorted(sums, target, right=True)
        return (found if ids is None else ids.gather(-1, found)).squeeze(-1)

    def _kept(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """The `top_k` greatest logits of each row, (B, k), and their ids, ascending; all, and None
        for their ids, if so many are kept."""
        k = self.top_k
        if k is None or k >= logits.size(-1):
            return logits, None
        # What follows is done in fp64: it takes several times as long as to select does, so it is
        # done with what is left. One logit more tells whether the border divides equal ones.
        values, ids = logits.topk(k + 1, -1)
        is_tied = values[:, k - 1] == values[:, k]
        ids = ids[:, :k].sort(-1).values
        if bool(is_tied.any()):
            ids[is_tied] = _greatest(logits[is_tied], k)
        return logits.gather(-1, ids), ids

    def _distribution(self, kept: Tensor) -> Tensor:
        """Of logits of ascending ids, (B, n) fp64."""
        # The greatest becomes 0, so that dividing by a small temperature cannot overflow.
        scaled = (kept - kept.amax(-1, keepdim=True)).double() / self.temperature
        result = scaled.softmax(-1)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = result.sort(stable=True, dim=-1, descending=True)
            before = ordered.cumsum(-1) - ordered
            # The first is always kept: nothing comes before it.
            ordered = ordered.masked_fill(before >= self.top_p, 0.0)
            result = torch.zeros_like(result).scatter_(-1, order, ordered)
        return result


class Chance:
    """A stream of numbers from [0, 1) for each row, the same on every device.

    A row's stream depends on its own seed alone: not on the other rows, nor on how far they go.

    Args:
        seeds: One for each row; see `row_seeds`.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._block = torch.empty(len(seeds), 0, dtype=torch.float64)
        self._at = 0

    def next(self) -> Tensor:
        """The next number of each row, (B,) fp64, on the CPU."""
        if self._at == self._block.size(1):
            rows = [
                torch.rand(_BLOCK, generator=generator, dtype=torch.float64)
                for generator in self._generators
            ]
            self._block, self._at = torch.stack(rows), 0
        self._at += 1
        return self._block[:, self._at - 1]


def row_seeds(seed: int | Ids, n_rows: int) -> list[int]:
    """A seed for each row: those given, or `seed`, `seed + 1`, ... if it is one number.

    Raises:
        TypeError: A seed is not an integer, or they are not in an order.
        ValueError: There is not one for each row; one is negative or has more than 63 bits.
    """
    if is_scalar(seed):
        first = integer("seed", seed)
        seeds = [first + row for row in range(n_rows)]
    else:
        seeds = integers("seed", seed)
    if len(seeds) != n_rows:
        raise ValueError(f"seed: {len(seeds)} seeds for {n_rows} rows; give one for each, or one")
    for one in seeds:
        if not 0 <= one < SEEDS:
            raise ValueError(f"seed={one}: it must be from 0 to 2**63 - 1")
    return seeds


def seed_of(*numbers: int) -> int:
    """A seed, 63 bits, that depends on these numbers in their order alone."""
    text = " ".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _greatest(logits: Tensor, k: int) -> Tensor:
    """The ids of the k greatest logits of each row, of equal ones the smaller first; (B, k),
    ascending."""
    least = logits.topk(k, -1).values[:, -1:]
    # What is not a number counts as greater, as it does for topk.
    above, ties = ~(logits <= least), logits == least
    room = k - above.sum(-1, keepdim=True)
    kept = above | (ties & (ties.cumsum(-1) <= room))
    return kept.nonzero()[:, 1].view(-1, k)


def not_finite() -> ValueError:
    """What is raised where logits are not finite."""
    return ValueError(
        "the model's logits are not finite: its weights are damaged or its training diverged; "
        "take an earlier checkpoint"
    )
