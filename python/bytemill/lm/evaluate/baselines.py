"""What a model must beat on the same tokens: counts of single tokens, counts of pairs, and gzip."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bytemill.lm.batches.tokens import Tokens

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PIECE = 1 << 22
_DISCOUNTS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Baseline(Protocol):
    """A model that needs no more than the token before."""

    def nats(self, previous: Integers, ids: Integers) -> Floats:
        """-ln p(ids[i] | previous[i]) for each i; all of one shape."""
        ...


@dataclass(frozen=True)
class Unigram:
    """Each token as often as in the training text, whatever comes before; one count is added."""

    probabilities: Floats
    """(V,), sums to 1."""

    @classmethod
    def fit(cls, tokens: Tokens, vocab_size: int) -> Unigram:
        """Counts all of `tokens`."""
        counts = np.ones(vocab_size)
        for ids in _pieces(tokens, 0, len(tokens)):
            counts += np.bincount(ids[1:], minlength=vocab_size)
        return cls(counts / counts.sum())

    def nats(self, previous: Integers, ids: Integers) -> Floats:
        """-ln p(ids[i]) for each i."""
        return -np.log(self.probabilities[ids])


@dataclass(frozen=True)
class Bigram:
    """Each token by the one before it: absolute discounting (Ney, Essen and Kneser 1994).

    p(b | a) = max(c(a, b) - d, 0) / c(a) + d n(a) / c(a) p(b): d of each of the n(a) pairs that
    occur goes to the unigram model. After a token that never occurs p(b | a) = p(b).
    """

    unigram: Unigram
    discount: float
    """d, between 0 and 1."""
    pairs: Integers
    """The pairs that occur, as a V + b, in order; shape (P,)."""
    counts: Integers
    """c(a, b) of each; (P,)."""
    first_counts: Integers
    """c(a); (V,)."""
    followers: Integers
    """n(a); (V,)."""

    @classmethod
    def fit(cls, tokens: Tokens, vocab_size: int) -> Bigram:
        """Counts all of `tokens`; d is the best of a few on their last tenth.

        Raises:
            ValueError: There are fewer than 20 tokens.
        """
        if len(tokens) < 20:
            raise ValueError(f"{tokens.source}: {len(tokens)} tokens are too few to count pairs")
        unigram = Unigram.fit(tokens, vocab_size)
        kept = len(tokens) * 9 // 10
        counted = _count_pairs(tokens, kept, vocab_size)
        rest = list(_pieces(tokens, kept - 1, len(tokens)))

        def loss(discount: float) -> float:
            model = cls(unigram, discount, *counted)
            return sum(float(model.nats(ids[:-1], ids[1:]).sum()) for ids in rest)

        discount = min(_DISCOUNTS, key=loss)
        return cls(unigram, discount, *_count_pairs(tokens, len(tokens), vocab_size))

    def nats(self, previous: Integers, ids: Integers) -> Floats:
        """-ln p(ids[i] | previous[i]) for each i."""
        wanted = previous * len(self.first_counts) + ids
        at = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        counts = np.where(self.pairs[at] == wanted, self.counts[at], 0)
        total = self.first_counts[previous]
        seen = np.maximum(total, 1)
        kept = np.maximum(counts - self.discount, 0.0) / seen
        given = np.where(total > 0, self.discount * self.followers[previous] / seen, 1.0)
        return -np.log(kept + given * self.unigram.probabilities[ids])


def baseline_bits_per_byte(
    model: Baseline, batches: Iterable[tuple[Integers, Integers]], token_bytes: Integers
) -> float:
    """Bits per byte of the batches of `loaders.fixed_batches`, as models' are counted.

    Targets of -1 and special tokens, which have no bytes, are left out.

    Args:
        model: A fitted baseline.
        batches: x and y, (B, T) each.
        token_bytes: The bytes of each token, 0 for special ones; (V,).

    Raises:
        ValueError: The targets have no bytes.
    """
    nats, n_bytes = 0.0, 0
    for x, y in batches:
        counts = (y >= 0) & (token_bytes[y] > 0)
        nats += float(model.nats(x[counts], y[counts]).sum())
        n_bytes += int(token_bytes[y[counts]].sum())
    if not n_bytes:
        raise ValueError("the batches' targets have no bytes: there is nothing to score")
    return nats / math.log(2) / n_bytes


def gzip_bits_per_byte(pieces: Iterable[bytes]) -> float:
    """Bits that gzip -9 needs per byte of the pieces, compressed one after another as one stream.

    Raises:
        ValueError: The pieces are empty.
    """
    # What follows 16 are the bits of the window; 16 asks for gzip's header.
    gzip = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    n_bytes, packed = 0, 0
    for piece in pieces:
        n_bytes += len(piece)
        packed += len(gzip.compress(piece))
    if not n_bytes:
        raise ValueError("no bytes: there is nothing to compress")
    return 8 * (packed + len(gzip.flush())) / n_bytes


def _pieces(tokens: Tokens, start: int, end: int) -> Iterator[Integers]:
    """Ids from `start` to `end` in pieces that share one token, so that each pair is in one."""
    for at in range(start, max(end - 1, start), _PIECE):
        yield tokens.window(at, min(_PIECE, end - 1 - at) + 1)


def _count_pairs(
    tokens: Tokens, end: int, vocab_size: int
) -> tuple[Integers, Integers, Integers, Integers]:
    """The pairs among the first `end` tokens, in order, how often they occur, c(a) and n(a)."""
    found: Integers = np.zeros(0, np.int64)
    counts: Integers = np.zeros(0, np.int64)
    for ids in _pieces(tokens, 0, end):
        new, new_counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
        found, place = np.unique(np.concatenate([found, new]), return_inverse=True)
        both = np.concatenate([counts, new_counts])
        # Sums of integers below 2**53 are exact in float64.
        counts = np.bincount(place, weights=both, minlength=len(found)).astype(np.int64)
    first = found // vocab_size
    first_counts = np.bincount(first, weights=counts, minlength=vocab_size).astype(np.int64)
    return found, counts, first_counts, np.bincount(first, minlength=vocab_size)
