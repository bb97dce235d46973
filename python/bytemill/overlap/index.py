"""The n-grams of test items, and where they are in other ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bytemill.overlap.grams import Hashes, Ids, hashes

N: Final = 13
"""Tokens of an n-gram; GPT-3's check counts words (https://arxiv.org/abs/2005.14165, app. C)."""
_BASES: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_LEAST_BITS, _MOST_BITS = 16, 27


@dataclass(frozen=True)
class TestItem:
    """Something that a model is tested on."""

    __test__ = False  # it is not a test of pytest's

    task: str
    number: int
    """The item's, within the task."""
    texts: tuple[str, ...]
    """What is asked and answered. An n-gram lies within one of them."""


class Hits(NamedTuple):
    """Places of some ids where an n-gram of a test item begins."""

    places: npt.NDArray[np.int64]
    """In order."""
    grams: npt.NDArray[np.int64]
    """Which n-gram; see `Index.grams`."""


class _Filter:
    """Which hashes may be among some: a bit for each value of so many bits of a hash.

    Args:
        hashes: Those that are to pass.
        bits: How many bits of a hash are looked at.
        skipped: How many of the highest are not.
    """

    def __init__(self, hashes: Hashes, bits: int, skipped: int) -> None:
        self.skipped = np.uint64(skipped)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << (bits - 3), np.uint8)
        place, bit = self._place(hashes)
        np.bitwise_or.at(self._table, place, np.left_shift(np.uint8(1), bit))

    def passed(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Where the hashes are that may be among those."""
        place, bit = self._place(hashes)
        return np.flatnonzero(((self._table.take(place) >> bit) & np.uint8(1)).view(np.bool_))

    def _place(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        value = (hashes << self.skipped if self.skipped else hashes) >> self._shift
        bit = value.astype(np.uint8) & np.uint8(7)
        return (value >> np.uint64(3)).view(np.int64), bit


class Index:
    """The n-grams of items.

    Args:
        items: What is looked for.
        encode: Text to ids, as ordinary text (`Tokenizer.encode_ordinary`).
        n: Tokens of an n-gram.

    Raises:
        ValueError: `n` is below 1; there is no item, or none with n tokens.
    """

    def __init__(
        self, items: Iterable[TestItem], encode: Callable[[str], list[int]], n: int = N
    ) -> None:
        if n < 1:
            raise ValueError(f"n={n}: it must be at least 1")
        self.n = n
        self.items = list(items)
        if not self.items:
            raise ValueError("there is no test item to look for")
        pieces, starts, owners, at = [], [], [], 0
        for number, item in enumerate(self.items):
            for text in item.texts:
                ids = np.asarray(encode(text), np.uint32)
                pieces.append(ids)
                places = np.arange(at, at + max(len(ids) - n + 1, 0))
                starts.append(places)
                owners.append(np.full(len(places), number))
                at += len(ids)
        self._ids = np.concatenate([*pieces, np.zeros(0, np.uint32)])
        places = np.concatenate([*starts, np.zeros(0, np.int64)]).astype(np.int64)
        self.owners = np.concatenate([*owners, np.zeros(0, np.int64)]).astype(np.int64)
        """Of each place of an n-gram in an item's text, the item's number in `items`."""
        if not len(places):
            raise ValueError(
                f"no test item has {n} tokens: give longer items, or look for shorter runs"
            )
        self._base, self._sorted, first, self.grams = self._unequal(places)
        """`grams`: of each of these places, which n-gram it is."""
        self._first = places[first]
        # A run of n ids has, whole, just one of the blocks that begin at every `step`th place; if
        # it is an n-gram, the block is in one. So few blocks tell of most places that they are not.
        self._block = n // 2 + 1
        self._step = n - self._block + 1
        begins = np.zeros(len(self._ids), np.bool_)
        for i in range(self._step):
            begins[places + i] = True
        every = hashes(self._ids, self._block)
        blocks = every[begins[: len(every)]]
        # The first filter stays in a processor's cache, and nearly all of what it lets through ends
        # at the second. A search in the sorted hashes takes far longer.
        bits = _bits(len(blocks))
        self._blocks = _Filter(blocks, bits, 0), _Filter(blocks, bits + 2, bits)
        self._grams = _Filter(self._sorted, _bits(len(self._sorted)) + 2, 0)

    @property
    def n_grams(self) -> int:
        """How many n-grams there are that differ."""
        return len(self._sorted)

    def find(self, ids: Ids, starts: npt.NDArray[np.int64]) -> Hits:
        """Where the n-grams are in some documents.

        Args:
            ids: The documents' ids (T,), one after another.
            starts: Where each begins, in order. An n-gram does not reach into the next.
        """
        empty = np.zeros(0, np.int64)
        last = len(ids) - self.n
        if last < 0:
            return Hits(empty, empty)
        place, found = self._around(ids, self._blocks_in(ids))
        maybe = self._grams.passed(found)
        # In order, and each once, they are searched for several times as fast.
        wanted, back = np.unique(found[maybe], return_inverse=True)
        which = np.searchsorted(self._sorted, wanted)
        which[which == len(self._sorted)] = 0
        same = (self._sorted[which] == wanted)[back.reshape(-1)]
        place, gram = place[maybe][same], which[back.reshape(-1)][same]
        ends = np.append(starts, len(ids)).astype(np.int64)
        is_within = ends[np.searchsorted(ends, place, "right")] >= place + self.n
        place, gram = place[is_within], gram[is_within]
        # Equal hashes are not enough.
        same = self._equal(ids, place, self._ids, self._first[gram])
        return Hits(place[same], gram[same])

    def _blocks_in(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The places, every `step`th, where a block of an n-gram may begin."""
        first, second = self._blocks
        found = hashes(ids, self._block, step=self._step)
        maybe = first.passed(found)
        return maybe[second.passed(found[maybe])] * self._step

    def _around(
        self, ids: Ids, blocks: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], Hashes]:
        """The places of the runs of n ids that hold the blocks at these, and the runs' hashes."""
        before, last = self._step - 1, len(ids) - self.n
        first = blocks - before
        near = first[:, None] + np.arange(self.n + before)
        found = hashes(ids.take(near, mode="clip"), self.n, self._base)
        place = first[:, None] + np.arange(self._step)
        is_there = (place >= 0) & (place <= last)
        return place[is_there], found[is_there]

    def _unequal(
        self, places: npt.NDArray[np.int64]
    ) -> tuple[int, npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """A base by which the hashes of unequal n-grams differ; these, in order and each once; a
        place of each; which each place has."""
        for base in _BASES:
            found = hashes(self._ids, self.n, base)[places]
            # As by `np.unique`, at half its price: which place stands for a hash is all the same.
            order = np.argsort(found)
            ordered = found[order]
            is_new = np.append(True, ordered[1:] != ordered[:-1])
            first = order[is_new]
            grams = np.empty(len(found), np.int64)
            grams[order] = np.cumsum(is_new) - 1
            if self._equal(self._ids, places, self._ids, places[first][grams]).all():
                return base, ordered[is_new], first, grams
        raise ValueError("the test items were made so that their n-grams have equal hashes")

    def _equal(
        self, ids: Ids, at: npt.NDArray[np.int64], others: Ids, other_at: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Whether the runs of n ids at these places are the same."""
        same = np.ones(len(at), np.bool_)
        for i in range(self.n):
            same &= ids[at + i] == others[other_at + i]
        return same


def _bits(n: int) -> int:
    """Of hashes, to look at in a filter of n."""
    return max(_LEAST_BITS, min(_MOST_BITS, (6 * n).bit_length()))
