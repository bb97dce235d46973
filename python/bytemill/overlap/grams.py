"""Hashes of runs of n ids in an array.

The hash of ids x_0 ... x_(n-1) is the sum of x_i * B^(n-1-i), modulo 2^64, times an odd number.
Equal runs have equal hashes; unequal ones might, too, so that whoever needs to be exact compares
ids.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Hashes: TypeAlias = npt.NDArray[np.uint64]
Ids: TypeAlias = "npt.NDArray[Any]"

_BASE: Final = 0x9E3779B97F4A7C15
_LAST: Final = 0xD6E8FEB86659FD93
_RANGE: Final = 1 << 64


def hashes(ids: Ids, n: int, base: int = _BASE, step: int = 1) -> Hashes:
    """The hashes of the runs of n ids that begin at each place, or at each `step`th.

    Args:
        ids: Token ids (..., T), of any integer type.
        n: How many ids a run has.
        base: An odd number; another one makes other hashes.
        step: From one run's beginning to the next.

    Returns:
        Those of T - n + 1 runs, none if there are fewer ids than n, or of every `step`th of them,
        along the last axis. The high bits are the better ones.
    """
    if ids.shape[-1] < n:
        return np.zeros((*ids.shape[:-1], 0), np.uint64)
    factors = [pow(base, n - 1 - i, _RANGE) * _LAST % _RANGE for i in range(n)]
    runs = sliding_window_view(ids.astype(np.uint64), n, -1)[..., ::step, :]
    # One product, within which other threads can run Python.
    result: Hashes = runs @ np.array(factors, np.uint64)
    return result
