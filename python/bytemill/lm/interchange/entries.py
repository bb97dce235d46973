"""One tensor of another tool's file, and what it is made of here.

RoPE: here dimensions 2i and 2i+1 of a head turn together by +angle. transformers' Llama turns i and
i + head_dim/2 by +angle, its NanoChat turns the same two by -angle, which is the turn by +angle of
the two the other way round. Each is the same model with the rows of queries and keys in another
order, as all scores q.k stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """A tensor there, of one or more here."""

    theirs: str
    ours: tuple[str, ...]
    out: Callable[[Sequence[Tensor]], Tensor]
    """From ours to theirs."""
    back: Callable[[Tensor], list[Tensor]]
    """From theirs to ours."""


def plain(ours: str, theirs: str) -> Entry:
    """The same numbers under another name."""
    return Entry(theirs, (ours,), lambda own: own[0], lambda other: [other])


def first_rows(ours: str, theirs: str, n: int) -> Entry:
    """Without the rows beyond n, by which a vocabulary is padded here."""
    return Entry(theirs, (ours,), lambda own: own[0][:n], lambda other: [other])


def transposed(ours: Sequence[str], theirs: str) -> Entry:
    """Matrices (d_out, d_in) here, side by side in one (d_in, sum of d_out) there; of equal sizes
    on the way back."""
    return Entry(
        theirs,
        tuple(ours),
        lambda own: torch.cat(list(own)).t(),
        lambda other: list(other.t().chunk(len(ours))),
    )


def joined(ours: Sequence[str], theirs: str) -> Entry:
    """Vectors one after the other in one."""
    return Entry(
        theirs,
        tuple(ours),
        lambda own: torch.cat(list(own)),
        lambda other: list(other.chunk(len(ours))),
    )


def turned(ours: str, theirs: str, n_heads: int, *, swapped: bool) -> Entry:
    """The rows of queries or keys, whose pairs are the two halves of a head there.

    Args:
        ours, theirs: The names.
        n_heads: Of queries, or of keys.
        swapped: Whether the first half has the second of each pair.
    """
    return Entry(
        theirs,
        (ours,),
        lambda own: to_halves(own[0], n_heads, swapped=swapped),
        lambda other: [to_pairs(other, n_heads, swapped=swapped)],
    )


def to_halves(weight: Tensor, n_heads: int, *, swapped: bool = False) -> Tensor:
    """Rows (n_heads head_dim, ...), in each head those of even numbers before the odd ones; the
    odd ones first if `swapped`."""
    pairs = weight.view(n_heads, -1, 2, *weight.shape[1:])
    if swapped:
        pairs = pairs.flip(2)
    return pairs.transpose(1, 2).reshape(weight.shape)


def to_pairs(weight: Tensor, n_heads: int, *, swapped: bool = False) -> Tensor:
    """What `to_halves` was given."""
    halves = weight.view(n_heads, 2, -1, *weight.shape[1:])
    if swapped:
        halves = halves.flip(1)
    return halves.transpose(1, 2).reshape(weight.shape)
