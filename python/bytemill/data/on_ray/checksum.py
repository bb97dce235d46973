"""CRC-32 of a whole from the CRC-32s of its parts, which several machines have computed.

As in zlib's `crc32_combine`: a CRC is linear over GF(2), so that appending n zero bytes is a matrix
of 32 x 32 bits, got by squaring that of one byte.
"""

from __future__ import annotations

import functools
import itertools
from typing import Final

_POLYNOMIAL: Final = 0xEDB88320


def combine(first: int, second: int, n_bytes: int) -> int:
    """The CRC-32 of two strings joined: the CRC-32 of each, and the second's length in bytes."""
    for power in itertools.count():
        if n_bytes >> power == 0:
            return first ^ second
        if n_bytes >> power & 1:
            first = _times(_zeros(power), first)
    raise AssertionError("unreachable")


@functools.lru_cache(maxsize=64)
def _zeros(power: int) -> tuple[int, ...]:
    """What 2**power zero bytes do to each bit of a CRC."""
    if power > 0:
        half = _zeros(power - 1)
        return tuple(_times(half, row) for row in half)
    rows = []
    for bit in range(32):
        row = 1 << bit
        for _ in range(8):
            row = row >> 1 ^ (_POLYNOMIAL if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


def _times(rows: tuple[int, ...], vector: int) -> int:
    result = 0
    for row in rows:
        if vector & 1:
            result ^= row
        vector >>= 1
    return result
