"""Files -> parts of about one size, each the work of one task; and where in a file a part begins.

The cut is by bytes alone and depends on the files' sizes and `part_bytes`, so that whoever cuts
reads nothing. A worker then moves both ends of a segment to the next place where documents may be
divided: the same place for the end of one part and the beginning of the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from bytemill.data.inputs import InputFile

_PIECE: Final = 1 << 18
"""Bytes read at a time: few enough to lie in a core's cache until they have been looked at."""
_MARK_BYTES: Final = 1 << 16, 1 << 20
"""Bytes first read in search of a mark, and at most."""
_PARTS: Final = 64


class Segment(NamedTuple):
    """Some of a file, or all of it."""

    file: InputFile
    """Its path is absolute, as workers stand elsewhere."""
    start: int
    """The first byte, before it has been moved to where a document begins."""
    end: int
    """Behind the last byte, likewise."""
    size: int
    """Of the whole file, in bytes."""

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self.start == 0 and self.end == self.size


Part: TypeAlias = tuple[Segment, ...]
"""What one task reads, in order."""


def default_part_bytes(total: int, least: int) -> int:
    """Bytes of a part where the caller names none: a 64th of all, from `least` to 512 MiB."""
    return min(max(total // _PARTS, least), 1 << 29)


def partition(
    files: Sequence[InputFile], part_bytes: int, marks: Sequence[str], *, bare: bool = False
) -> list[Part]:
    """Cuts files into parts; in their order they are all bytes of all files.

    Cut are .jsonl between lines, .parquet between row groups, plain text between documents, where
    `marks` separate them for certain; what is compressed is not cut.

    Args:
        files: The files, in order.
        part_bytes: Bytes of a part, on disk; one file that is not cut may be more.
        marks: Special tokens, which separate the documents of plain text.
        bare: Cut all files anywhere, for who reads bytes and not documents.
    """
    parts: list[Part] = []
    held: list[Segment] = []
    room = part_bytes
    can_cut_text = bool(separators(marks))
    for file in files:
        size = file.size
        here = file._replace(path=Path(file.path).absolute())
        is_cut = bare or (
            file.compression is None and (file.format != "text" or can_cut_text) and size > 0
        )
        if not is_cut and held and size > room:
            parts.append(tuple(held))
            held, room = [], part_bytes
        start = 0
        while True:
            end = min(size, start + room) if is_cut else size
            held.append(Segment(here, start, end, size))
            room -= end - start
            if room <= 0:
                parts.append(tuple(held))
                held, room = [], part_bytes
            start = end
            if start >= size:
                break
    if held:
        parts.append(tuple(held))
    return parts


def separators(marks: Iterable[str]) -> tuple[bytes, ...]:
    """`marks` as bytes, if wherever one of them is seen, a reader who began at the start of the
    file sees it too: none is in another, and none begins with what one ends with. () otherwise."""
    found = tuple(mark.encode("utf-8", "surrogatepass") for mark in marks)
    for a in found:
        for b in found:
            if a is not b and a in b:
                return ()
            if any(a.endswith(b[:n]) for n in range(1, min(len(a), len(b)) + (a != b))):
                return ()
    return found


def bounds(segment: Segment, marks: Sequence[bytes]) -> tuple[int, int]:
    """A segment's first byte and the one behind its last, moved to where documents are divided."""
    return _bound(segment, segment.start, marks), _bound(segment, segment.end, marks)


def _bound(segment: Segment, at: int, marks: Sequence[bytes]) -> int:
    """Behind the first of `marks` that begins at `at` or later; the file's end if none does."""
    if at == 0 or at >= segment.size:
        return min(at, segment.size)
    longest = max(map(len, marks))
    with segment.file.path.open("rb") as raw:
        raw.seek(at)
        held, before = b"", at
        n, most = _MARK_BYTES
        while piece := raw.read(n):
            n = min(2 * n, most)
            held += piece
            places = [(place, mark) for mark in marks if (place := held.find(mark)) >= 0]
            if places:
                place, mark = min(places)
                return before + place + len(mark)
            keep = min(longest - 1, len(held))
            before += len(held) - keep
            held = held[len(held) - keep :]
    return segment.size


def chunks(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a file from `start` to `end`, in pieces."""
    with path.open("rb", buffering=0) as raw:
        raw.seek(start)
        while start < end and (piece := raw.read(min(_PIECE, end - start))):
            start += len(piece)
            yield piece


def row_groups(starts: Sequence[int], segment: Segment) -> range:
    """The row groups of a parquet file that belong to a segment: those that begin in it.

    Args:
        starts: The first byte of each row group; one that lies before an earlier one counts as if
            it did not.
        segment: Some of the file.
    """
    placed: list[int] = []
    for start in starts:
        placed.append(max(start, placed[-1] if placed else 0))
    inside = [i for i, start in enumerate(placed) if _is_in(start, segment)]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def _is_in(start: int, segment: Segment) -> bool:
    return segment.start <= start and (start < segment.end or segment.end == segment.size)
