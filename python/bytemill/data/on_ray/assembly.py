"""Parts -> shards: which documents of which parts a shard holds, and its files.

A shard ends with the document that makes it `shard_tokens` long or longer, so its end follows from
all that comes before it. Tokens are numbers, though, long before they are files: `Planner` goes
through the parts in order by their sums alone and looks into one only where a shard ends in it. The
files are then put together by workers, each a shard of its own.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from bytemill.data.on_ray.job import Content, EncodeJob, job_of
from bytemill.data.on_ray.work import SIZES, Made, check_mark, text_sizes
from bytemill.data.shards import SPLITS, WIDTHS, Shard
from bytemill.files import replacing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_HEADER: Final = 128
_PIECE: Final = 1 << 22
_DESCR: Final = {"uint16": "<u2", "uint32": "<u4"}


class Piece(NamedTuple):
    """Documents of a part, and their tokens, as places in what the part has of a split."""

    part: int
    documents: tuple[int, int]
    tokens: tuple[int, int]
    n_bytes: int | None
    """Of their text; None where they are not all documents, so that it takes counting."""


@dataclass
class Plan:
    """A shard to be."""

    split: int
    index: int
    pieces: list[Piece] = field(default_factory=list)
    n_tokens: int = 0

    @property
    def name(self) -> str:
        """As its files' names begin."""
        return f"{SPLITS[self.split]}-{self.index:05}"


End = tuple[int, int]
"""Documents and tokens up to a place in a part."""


class Planner:
    """Cuts one split into shards, part by part.

    Args:
        split: 0 for train, 1 for val.
        shard_tokens: See above.
        find_end: Given a plan, a part and a number of tokens, where in the part the document ends
            with which it has as many or more.
    """

    def __init__(
        self, split: int, shard_tokens: int, find_end: Callable[[Plan, int, int], End]
    ) -> None:
        self._shard_tokens, self._find_end = shard_tokens, find_end
        self._open = Plan(split, 0)

    @property
    def open_parts(self) -> set[int]:
        """The parts that the shard to come is begun with."""
        return {piece.part for piece in self._open.pieces}

    def add(self, part: int, made: Made) -> Iterator[Plan]:
        """Takes the next part; yields the shards that end in it."""
        at: End = (0, 0)
        whole: End = (made["documents"], made["tokens"])
        while self._open.n_tokens + whole[1] - at[1] >= self._shard_tokens:
            wanted = at[1] + self._shard_tokens - self._open.n_tokens
            end = self._find_end(self._open, part, wanted)
            self._take(part, at, end, made, whole)
            at = end
            yield self._close()
        if at[0] < whole[0]:
            self._take(part, at, whole, made, whole)

    def finish(self) -> Iterator[Plan]:
        """The last shard, if there is anything in it."""
        if self._open.pieces:
            yield self._close()

    def _take(self, part: int, start: End, end: End, made: Made, whole: End) -> None:
        is_whole = start[0] == 0 and end == whole
        documents, tokens = (start[0], end[0]), (start[1], end[1])
        piece = Piece(part, documents, tokens, made["bytes"] if is_whole else None)
        self._open.pieces.append(piece)
        self._open.n_tokens += end[1] - start[1]

    def _close(self) -> Plan:
        plan = self._open
        self._open = Plan(plan.split, plan.index + 1)
        return plan


def first_end(starts: npt.NDArray[np.uint64], wanted: int) -> End:
    """The first document's end that is at `wanted` tokens or behind; `starts` as in a shard."""
    document = int(starts[1:].searchsorted(wanted))
    return document + 1, int(starts[document + 1])


def starts_of(parts: Path, part: int, split: int) -> npt.NDArray[np.uint64]:
    """Where the documents of a part begin, and finally its length in tokens; memory-mapped."""
    import numpy as np

    path = parts / f"{part:06}" / f"{SPLITS[split]}-00000.docs.npy"
    starts: npt.NDArray[np.uint64] = np.load(path, mmap_mode="r")
    return starts


def assemble(
    holder: list[Any], key: str, plans: Sequence[Plan], contents: dict[int, Content]
) -> tuple[list[Shard], None]:
    """Writes shards that lie one behind another."""
    job: EncodeJob = job_of(holder, key)
    check_mark(job)
    sizes = _Sizes(job, contents)
    return [_assemble(job, plan, sizes) for plan in plans], None


def record_of(parts: Path, plan: Plan) -> Path:
    """The file that says that a shard has been made."""
    return parts / f"{plan.name}.json"


def end_of(parts: Path, plan: Plan) -> End | None:
    """Where a shard that has been made ends in its last part."""
    try:
        documents, tokens = json.loads(record_of(parts, plan).read_text())["end"]
    except FileNotFoundError:
        return None
    return documents, tokens


def _made_before(job: EncodeJob, plan: Plan) -> Shard | None:
    try:
        shard = Shard(**json.loads(record_of(job.parts, plan).read_text())["shard"])
        found = (
            (job.out / shard.file).stat().st_size,
            (job.out / shard.documents_file).stat().st_size,
        )
    except FileNotFoundError:
        return None
    wanted = shard.tokens * WIDTHS[job.dtype], (shard.documents + 1) * 8
    return shard if found == (_HEADER + wanted[0], _HEADER + wanted[1]) else None


def _assemble(job: EncodeJob, plan: Plan, sizes: _Sizes) -> Shard:
    import numpy as np

    if (before := _made_before(job, plan)) is not None:
        return before

    width = WIDTHS[job.dtype]
    names = f"{plan.name}.npy", f"{plan.name}.docs.npy"
    n_documents = sum(end - start for start, end in (piece.documents for piece in plan.pieces))
    with replacing(job.out / names[0]) as raw:
        ids = _Summed(raw, _DESCR[job.dtype], plan.n_tokens)
        for piece in plan.pieces:
            path = job.parts / f"{piece.part:06}" / f"{SPLITS[plan.split]}-00000.npy"
            ids.copy(path, *(_HEADER + width * token for token in piece.tokens))
    with replacing(job.out / names[1]) as raw:
        documents = _Summed(raw, "<u8", n_documents + 1)
        at = 0
        for piece in plan.pieces:
            starts = starts_of(job.parts, piece.part, plan.split)[slice(*piece.documents)]
            shifted = starts.astype(np.int64) + (at - piece.tokens[0])
            documents.write(shifted.astype("<u8").tobytes())
            at += piece.tokens[1] - piece.tokens[0]
        documents.write(struct.pack("<Q", at))
    n_bytes = sum(
        sizes.of(plan.split, piece) if piece.n_bytes is None else piece.n_bytes
        for piece in plan.pieces
    )
    shard = Shard(*names, plan.n_tokens, n_documents, n_bytes, ids.crc32, documents.crc32)
    last = plan.pieces[-1]
    done = {"shard": asdict(shard), "end": [last.documents[1], last.tokens[1]]}
    with replacing(record_of(job.parts, plan)) as raw:
        raw.write(json.dumps(done).encode())
    return shard


class _Summed:
    """A NumPy file of one dimension being written, and the CRC-32 of it."""

    def __init__(self, file: BinaryIO, descr: str, n: int) -> None:
        self._file = file
        self.crc32 = 0
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n},), }}"
        padded = text.ljust(_HEADER - 11) + "\n"
        self.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode())

    def write(self, data: bytes) -> None:
        """Appends data."""
        self.crc32 = zlib.crc32(data, self.crc32)
        self._file.write(data)

    def copy(self, path: Path, start: int, end: int) -> None:
        """Appends some of another file."""
        with path.open("rb") as source:
            source.seek(start)
            while start < end:
                data = source.read(min(_PIECE, end - start))
                if not data:
                    raise ValueError(
                        f"{path}: this file of an unfinished run is too short; remove the output "
                        "folder and begin again"
                    )
                self.write(data)
                start += len(data)


class _Sizes:
    """The bytes of text of some documents of parts, which are read again for it, each once."""

    def __init__(self, job: EncodeJob, contents: dict[int, Content]) -> None:
        self._job, self._contents = job, contents
        self._known: dict[int, list[npt.NDArray[np.uint64]]] = {}

    def of(self, split: int, piece: Piece) -> int:
        """Of the documents of a piece."""
        sizes = self._of_part(split, piece.part)
        if piece.documents[1] > len(sizes):
            raise ValueError(
                f"part {piece.part} has fewer documents than when it was encoded: a file was "
                "changed while it was being read; remove the output folder and encode again"
            )
        return int(sizes[slice(*piece.documents)].sum())

    def _of_part(self, split: int, part: int) -> npt.NDArray[np.uint64]:
        import numpy as np

        content = self._contents[part]
        if isinstance(content, list):
            kept: npt.NDArray[np.uint64] = np.load(
                self._job.parts / f"{part:06}" / f"{SPLITS[split]}-{SIZES}"
            )
            return kept
        if part not in self._known:
            reader = self._job.reader(content, (), "")
            self._known[part] = text_sizes(reader, self._job.validation_fraction)
        return self._known[part][split]
