"""Documents -> rows of T + 1 ids that begin with BOS, in two ways."""

from __future__ import annotations

import base64
import binascii
import zlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bytemill.lm.batches.stream.documents import Place
from bytemill.lm.batches.stream.encoded import Document, Ids

Packing = Literal["documents", "best-fit"]
Row = npt.NDArray[np.int64]
BUFFER: Final = 1000
"""Documents that best-fit chooses from."""
_IGNORED: Final = -1


class Packer(Protocol):
    """Fills rows."""

    def fill(self, row: Row, target: Row, following: Callable[[], Document]) -> None:
        """Writes the next row, (T + 1,), and its targets; `following` gives the next document."""
        ...

    def skip(self, length: int, following: Callable[[], Document]) -> None:
        """Moves on as `fill` does with a row of `length` ids, and copies nothing into one."""
        ...

    def snapshot(self) -> Any:
        """Where it is; what it does later does not change it."""
        ...

    def first_place(self, snapshot: Any, following: Place) -> Place:
        """Of the document to begin with if one goes on from a snapshot."""
        ...

    def to_json(self, snapshot: Any) -> dict[str, Any]:
        """A snapshot as JSON data."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Goes to where a snapshot was taken; ValueError if the data is damaged."""
        ...


class _Open(NamedTuple):
    """A document of which `offset` ids, BOS among them, have been used as targets."""

    document: Document
    offset: int


class Continued:
    """Documents one after another; one that does not fit goes on in the next row, behind a BOS.

    No id is lost, and each but a BOS is a target once. A row that goes on with a document gives its
    last id again, behind BOS, as an input: the first target of such a row is -1, as no document
    begins so.

    Args:
        bos_id: The id that begins documents.
    """

    def __init__(self, bos_id: int) -> None:
        self._bos_id = bos_id
        self._open: _Open | None = None
        self._offset = 0
        """In the first document after `load`."""

    def fill(self, row: Row, target: Row, following: Callable[[], Document]) -> None:
        """As `Packer` says."""
        is_continued, parts = self._take(len(row), following)
        if is_continued:
            row[0] = self._bos_id
        np.concatenate(parts, out=row[is_continued:], casting="unsafe")
        target[:] = row
        if is_continued:
            target[1] = _IGNORED

    def skip(self, length: int, following: Callable[[], Document]) -> None:
        """As `Packer` says."""
        self._take(length, following)

    def _take(self, length: int, following: Callable[[], Document]) -> tuple[bool, list[Ids]]:
        """Whether the next row goes on with a document, and the ids in it, behind a BOS if so."""
        document, offset = self._open or (following(), self._offset)
        # Where only the BOS was a target, the document begins here as it would anywhere.
        offset = 0 if offset == 1 else offset
        if offset > len(document.ids):
            raise ValueError(
                f"the state has offset={offset} in a document of {len(document.ids)} tokens"
            )
        is_continued, left, parts = offset > 0, length, []
        if is_continued:
            left, offset = left - 1, offset - 1
        while True:
            taken = min(len(document.ids) - offset, left)
            parts.append(document.ids[offset : offset + taken])
            left, offset = left - taken, offset + taken
            is_done = offset == len(document.ids)
            if not left:
                break
            document, offset = following(), 0
        self._open, self._offset = None if is_done else _Open(document, offset), 0
        return is_continued, parts

    def snapshot(self) -> _Open | None:
        """As `Packer` says."""
        return self._open

    def first_place(self, snapshot: _Open | None, following: Place) -> Place:
        """As `Packer` says."""
        return snapshot.document.place if snapshot else following

    def to_json(self, snapshot: _Open | None) -> dict[str, Any]:
        """As `Packer` says."""
        return {"token": snapshot.offset if snapshot else 0}

    def load(self, state: dict[str, Any]) -> None:
        """As `Packer` says."""
        token = state["token"]
        if type(token) is not int or token < 0:
            raise ValueError(f"token={token!r}: it is not a number of tokens")
        self._open, self._offset = None, token


class _Candidate(NamedTuple):
    length: int
    """Of the document."""
    number: int
    """Lower for those that came earlier."""
    ids: Ids
    """As many as a row could take."""


class BestFit:
    """Each row takes the longest documents that fit, and the shortest one is cropped to fill it.

    Documents wait in a buffer of `BUFFER`. A row takes from it the longest that fits into what is
    left of the row, again and again, of equal ones the one that came first; when none fits, the
    shortest fills the row and the rest of it is dropped. So each row is full and all that is in it
    follows a BOS that is there, too.

    Args:
        context_length: Ids in a row, T; the row has one more.
        buffer: Documents to choose from.
    """

    def __init__(self, context_length: int, buffer: int = BUFFER) -> None:
        self._most, self._size = context_length + 1, buffer
        self._buffer: list[_Candidate] = []
        self._came = self._read = self._placed = 0

    def fill(self, row: Row, target: Row, following: Callable[[], Document]) -> None:
        """As `Packer` says."""
        np.concatenate(self._take(len(row), following), out=row, casting="unsafe")
        target[:] = row

    def skip(self, length: int, following: Callable[[], Document]) -> None:
        """As `Packer` says."""
        self._take(length, following)

    def _take(self, length: int, following: Callable[[], Document]) -> list[Ids]:
        """The ids in the next row."""
        left, parts = length, []
        while left:
            while len(self._buffer) < self._size:
                ids = following().ids
                # A copy, since a view would keep the ids of its whole piece.
                insort(self._buffer, _Candidate(len(ids), self._came, ids[: self._most].copy()))
                self._came += 1
            fitting = bisect_right(self._buffer, left, key=_length)
            if fitting:
                longest = self._buffer[fitting - 1].length
                chosen = self._buffer.pop(bisect_left(self._buffer, longest, key=_length))
            else:
                chosen = self._buffer.pop(0)
            taken = min(chosen.length, left)
            parts.append(chosen.ids[:taken])
            left -= taken
            self._read += chosen.length
            self._placed += taken
        return parts

    @property
    def dropped(self) -> float:
        """The share of ids that were dropped, of the documents that have left the buffer."""
        return 1 - self._placed / self._read if self._read else 0.0

    def snapshot(self) -> tuple[list[_Candidate], int, int, int]:
        """As `Packer` says."""
        return list(self._buffer), self._came, self._read, self._placed

    def first_place(self, snapshot: Any, following: Place) -> Place:
        """As `Packer` says."""
        return following

    def to_json(self, snapshot: tuple[list[_Candidate], int, int, int]) -> dict[str, Any]:
        """As `Packer` says. The ids are kept: their documents may be far apart by now."""
        buffer, came, read, placed = snapshot
        ids = np.concatenate([each.ids for each in buffer] or [np.zeros(0, np.uint16)])
        dtype = np.dtype(ids.dtype).newbyteorder("<")
        packed = zlib.compress(ids.astype(dtype).tobytes(), 1)
        return {
            "buffer": {
                "lengths": [each.length for each in buffer],
                "numbers": [each.number for each in buffer],
                "dtype": dtype.str,
                "ids": base64.b64encode(packed).decode("ascii"),
            },
            "came": came,
            "read": read,
            "placed": placed,
        }

    def load(self, state: dict[str, Any]) -> None:
        """As `Packer` says."""
        kept = state["buffer"]
        try:
            if kept["dtype"] not in ("<u2", "<u4"):
                raise ValueError(f"dtype={kept['dtype']!r}")
            ids = np.frombuffer(zlib.decompress(base64.b64decode(kept["ids"])), kept["dtype"])
            lengths, numbers = list(map(int, kept["lengths"])), list(map(int, kept["numbers"]))
            counts = (int(state["came"]), int(state["read"]), int(state["placed"]))
        except (binascii.Error, KeyError, TypeError, ValueError, zlib.error) as error:
            raise ValueError(f"the buffer of documents in the state is damaged ({error})") from None
        sizes = [min(length, self._most) for length in lengths]
        if len(numbers) != len(sizes) or sum(sizes) != len(ids) or lengths != sorted(lengths):
            raise ValueError("the buffer of documents in the state is damaged")
        ends = np.cumsum([0, *sizes]).tolist()
        self._buffer = [
            _Candidate(length, number, ids[start:end])
            for length, number, start, end in zip(lengths, numbers, ends, ends[1:], strict=False)
        ]
        self._came, self._read, self._placed = counts


def _length(candidate: _Candidate) -> int:
    return candidate.length
