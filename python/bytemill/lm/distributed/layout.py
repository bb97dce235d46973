"""Who updates what: parameters cut into buckets, of which each rank has a row.

A bucket is a buffer of (ranks, width) numbers. Gradients are added up over ranks by giving each
rank the sum of its row; new weights come back by collecting the rows. An optimizer that treats each
number by itself, as AdamW does, gets an equal slice of every parameter on each rank. One that needs
whole matrices, as Muon does, gets whole ones: those of one shape are dealt out, a row of them at a
time, and where they do not divide by the ranks the last row has gaps, which go to the ranks that
have most to do already. (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054, call optimizer
states and gradients that are shared out ZeRO-2.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, get_args

import torch

Shard = Literal["zero2", "fsdp"]
SHARDS: Final[tuple[Shard, ...]] = get_args(Shard)
"""Ways to share a model: gradients and optimizer states, or weights too."""
BUCKET_NUMBERS: Final = 1 << 22
"""Of a bucket, roughly: 16 MiB of fp32."""


@dataclass(frozen=True)
class Kind:
    """A parameter, as far as the layout is concerned."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    optimizer: int
    """Which of the optimizers has it."""
    is_whole: bool
    """Whether one rank must have all of it."""

    @property
    def numel(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Piece:
    """Numbers `start` to `stop` of a parameter, flat: what one rank updates of it."""

    parameter: int
    rank: int
    start: int
    stop: int
    offset: int
    """Where they lie in the rank's row."""

    @property
    def numel(self) -> int:
        """Numbers in it."""
        return self.stop - self.start


@dataclass(frozen=True)
class Bucket:
    """Parameters whose gradients are summed, and whose weights are collected, together."""

    optimizer: int
    dtype: torch.dtype
    width: int
    """Numbers in a rank's row, gaps included."""
    pieces: tuple[Piece, ...]

    @property
    def parameters(self) -> frozenset[int]:
        """Those that have a piece here; all of each."""
        return frozenset(piece.parameter for piece in self.pieces)

    def of_rank(self, rank: int) -> tuple[Piece, ...]:
        """Its row."""
        return tuple(piece for piece in self.pieces if piece.rank == rank)


@dataclass(frozen=True)
class _Unit:
    """What cannot be cut further: one sliced parameter, or one row of dealt matrices."""

    ready: int
    """When the last of its gradients is there, by the order of the backward pass."""
    width: int
    pieces: tuple[tuple[int, int, int, int], ...]
    """(parameter, rank, start, stop), at offset 0."""


def share_out(
    kinds: Sequence[Kind], ranks: int, bucket_numbers: int = BUCKET_NUMBERS
) -> tuple[Bucket, ...]:
    """Buckets of all parameters, in the order in which backward passes fill them.

    Args:
        kinds: The parameters, in the order in which forward passes use them.
        ranks: How many share the work.
        bucket_numbers: A bucket is closed when it has so many.
    """
    units: list[tuple[int, torch.dtype, _Unit]] = []
    alike: dict[tuple[int, tuple[int, ...], torch.dtype], list[int]] = {}
    for index in reversed(range(len(kinds))):
        kind = kinds[index]
        if kind.is_whole:
            alike.setdefault((kind.optimizer, kind.shape, kind.dtype), []).append(index)
        else:
            ready = len(kinds) - 1 - index
            units.append((kind.optimizer, kind.dtype, _sliced(index, kind.numel, ranks, ready)))
    load = [0] * ranks
    # The largest first: small matrices then even out what these leave uneven.
    for (optimizer, shape, dtype), indices in sorted(
        alike.items(), key=lambda item: -math.prod(item[0][1])
    ):
        numel = math.prod(shape)
        for first in range(0, len(indices), ranks):
            row = indices[first : first + ranks]
            idlest = sorted(sorted(range(ranks), key=lambda rank: load[rank])[: len(row)])
            for rank in idlest:
                load[rank] += numel
            pieces = tuple((i, rank, 0, numel) for i, rank in zip(row, idlest, strict=True))
            ready = len(kinds) - 1 - min(row)
            units.append((optimizer, dtype, _Unit(ready, numel, pieces)))
    return _buckets(units, ranks, bucket_numbers)


def rows_of_rank(n: int, rank: int, ranks: int) -> slice:
    """Which of a weight's `n` rows a rank keeps, as `torch.chunk` and FSDP2 cut them."""
    each = -(-n // ranks)
    return slice(min(rank * each, n), min((rank + 1) * each, n))


def _sliced(index: int, numel: int, ranks: int, ready: int) -> _Unit:
    width = -(-numel // ranks)
    cuts = [min(rank * width, numel) for rank in range(ranks + 1)]
    pieces = (
        (index, rank, start, stop)
        for rank, (start, stop) in enumerate(pairwise(cuts))
        if stop > start
    )
    return _Unit(ready, width, tuple(pieces))


def _buckets(
    units: list[tuple[int, torch.dtype, _Unit]], ranks: int, bucket_numbers: int
) -> tuple[Bucket, ...]:
    waiting: dict[tuple[int, torch.dtype], list[_Unit]] = {}
    done: list[tuple[int, Bucket]] = []

    def close(key: tuple[int, torch.dtype]) -> None:
        pieces: list[Piece] = []
        offset = 0
        own = waiting.pop(key)
        for unit in own:
            pieces += [Piece(*piece, offset) for piece in unit.pieces]
            offset += unit.width
        done.append((max(unit.ready for unit in own), Bucket(*key, offset, tuple(pieces))))

    for optimizer, dtype, unit in sorted(units, key=lambda item: item[2].ready):
        key = optimizer, dtype
        waiting.setdefault(key, []).append(unit)
        if sum(unit.width for unit in waiting[key]) * ranks >= bucket_numbers:
            close(key)
    for key in list(waiting):
        close(key)
    return tuple(bucket for _, bucket in sorted(done, key=lambda item: item[0]))
