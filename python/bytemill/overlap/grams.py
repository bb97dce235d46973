"""Hashes of all runs of n ids in an array, by a few multiplications each whatever n is.

The hash of ids x_0 ... x_(n-1) is the sum of x_i * B^(n-1-i), modulo 2^64, times an odd number. The
hash of a run is put together from those of its halves, so that n = 13 takes five steps, each over
a whole array. Equal runs have equal hashes; unequal ones might, too, so that whoever needs to be
exact compares ids.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint64]
Ids: TypeAlias = "npt.NDArray[Any]"

_BASE: Final = 0x9E3779B97F4A7C15
_LAST: Final = 0xD6E8FEB86659FD93
_MASK: Final = (1 << 64) - 1


def hashes(ids: Ids, n: int, base: int = _BASE) -> Hashes:
    """The hashes of the runs of n ids that begin at each place.

    Args:
        ids: Token ids (T,), of any integer type.
        n: How many ids a run has.
        base: An odd number; another one makes other hashes.

    Returns:
        T - n + 1 hashes, none if there are fewer ids than n. The high bits are the better ones.
    """
    if len(ids) < n:
        return np.zeros(0, np.uint64)
    # Hashes of runs whose lengths are powers of two, and those that n is the sum of.
    power = ids.astype(np.uint64)
    length, rest = 1, n
    whole: Hashes | None = None
    done = 0
    while True:
        if rest & 1:
            whole = power if whole is None else _joined(power, length, whole, done, base)
            done += length
        rest >>= 1
        if not rest:
            break
        power = _joined(power, length, power, length, base)
        length *= 2
    assert whole is not None
    result: Hashes = whole[: len(ids) - n + 1] * np.uint64(_LAST)
    return result


def _joined(first: Hashes, length: int, second: Hashes, more: int, base: int) -> Hashes:
    """Hashes of runs of `length` ids followed by `more` ids."""
    n = min(len(first), len(second) - length)
    result: Hashes = first[:n] * np.uint64(pow(base, more, _MASK + 1))
    result += second[length : length + n]
    return result
