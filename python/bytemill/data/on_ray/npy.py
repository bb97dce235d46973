"""A NumPy file made of pieces of others, and its CRC-32, for which a piece whose CRC-32 is known is
not looked at."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from bytemill.data.on_ray.checksum import combine

HEADER: Final = 128
"""Bytes before the data."""
_PIECE: Final = 1 << 20


def header(descr: str, n: int) -> bytes:
    """What comes before `n` items of a type, as `numpy.save` writes it."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n},), }}"
    padded = text.ljust(HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


def data_crc32(crc32: int, descr: str, n: int) -> int:
    """The CRC-32 of the data alone, from that of a file of `n` items."""
    return combine(zlib.crc32(header(descr, n)), crc32, n * _item(descr))


def _item(descr: str) -> int:
    return int(descr[-1])


class NpyWriter:
    """Writes `n` items of one type.

    Args:
        file: Where to; it is empty.
        descr: The type, as "<u2".
        n: How many there will be.
    """

    def __init__(self, file: BinaryIO, descr: str, n: int) -> None:
        self._file, self._item = file, _item(descr)
        self.crc32 = 0
        """Of all that has been written."""
        self.write(header(descr, n))

    def write(self, data: bytes) -> None:
        """Appends data."""
        self.crc32 = zlib.crc32(data, self.crc32)
        self._file.write(data)

    def copy(self, path: Path, start: int, end: int, crc32: int | None = None) -> None:
        """Appends the items from `start` to `end` of another such file, whose CRC-32 this is.

        Raises:
            ValueError: There are fewer.
        """
        at, stop = (HEADER + i * self._item for i in (start, end))
        found = 0
        try:
            with path.open("rb", buffering=0) as source:
                if crc32 is not None:
                    at += _copied_by_system(source, self._file, at, stop)
                source.seek(at)
                buffer = memoryview(bytearray(min(_PIECE, stop - at)))
                while at < stop:
                    data = buffer[: source.readinto(buffer[: stop - at])]
                    if not data:
                        raise FileNotFoundError
                    self._file.write(data)
                    if crc32 is None:
                        found = zlib.crc32(data, found)
                    at += len(data)
        except FileNotFoundError:
            raise ValueError(
                f"{path}: this file of an unfinished run is missing or too short; remove the "
                "output folder and begin again"
            ) from None
        n_bytes = (end - start) * self._item
        self.crc32 = combine(self.crc32, found if crc32 is None else crc32, n_bytes)


def _copied_by_system(source: FileIO, target: BinaryIO, start: int, end: int) -> int:
    """How many bytes the system has copied, which takes less of it; where it cannot, 0."""
    copy = getattr(os, "copy_file_range", None)
    if copy is None:
        return 0
    target.flush()
    at = start
    with contextlib.suppress(OSError):
        while at < end and (n := copy(source.fileno(), target.fileno(), end - at, at)):
            at += n
    target.seek(0, os.SEEK_END)
    return at - start
