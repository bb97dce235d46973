"""Parts -> shards: which documents of which parts a shard holds, and its files.

A shard ends with the document that makes it `shard_tokens` long or longer, so its end follows from
all that comes before it. Tokens are numbers, though, long before they are files: `Planner` goes
through the parts in order by their sums alone and looks into one only where a shard ends in it. The
files are then put together by workers, each a shard of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from bytemill.data.on_ray.cluster import Ticket
from bytemill.data.on_ray.job import EncodeJob, job_of
from bytemill.data.on_ray.npy import HEADER, NpyWriter
from bytemill.data.on_ray.work import DESCR, Made, check_mark
from bytemill.data.shards import SPLITS, WIDTHS, Shard
from bytemill.files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Piece(NamedTuple):
    """Documents of a part, and their tokens, as places in what the part has of a split."""

    part: int
    documents: tuple[int, int]
    tokens: tuple[int, int]
    whole: Made | None
    """What the part has of the split, if this is all of it."""


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
            self._take(part, at, end, made)
            at = end
            yield self._close()
        if at[0] < whole[0]:
            self._take(part, at, whole, made)

    def finish(self) -> Iterator[Plan]:
        """The last shard, if there is anything in it."""
        if self._open.pieces:
            yield self._close()

    def _take(self, part: int, start: End, end: End, made: Made) -> None:
        is_whole = (start[0], end[0]) == (0, made["documents"])
        documents, tokens = (start[0], end[0]), (start[1], end[1])
        piece = Piece(part, documents, tokens, made if is_whole else None)
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

    starts: npt.NDArray[np.uint64] = np.load(_file(parts, part, split, "docs.npy"), mmap_mode="r")
    return starts


def _file(parts: Path, part: int, split: int, kind: str) -> Path:
    return parts / f"{part:06}" / f"{SPLITS[split]}-00000.{kind}"


def assemble(ticket: Ticket, plans: Sequence[Plan]) -> tuple[list[Shard], None]:
    """Writes shards that lie one behind another."""
    job: EncodeJob = job_of(ticket)
    check_mark(job)
    return [_made_before(job, plan) or _assemble(job, plan) for plan in plans], None


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
    return shard if found == (HEADER + wanted[0], HEADER + wanted[1]) else None


def _assemble(job: EncodeJob, plan: Plan) -> Shard:
    import numpy as np

    names = f"{plan.name}.npy", f"{plan.name}.docs.npy"
    n_documents = sum(end - start for start, end in (piece.documents for piece in plan.pieces))
    with _replacing(job, names[0]) as raw:
        ids = NpyWriter(raw, DESCR[job.dtype], plan.n_tokens)
        for piece in plan.pieces:
            crc32 = None if piece.whole is None else piece.whole["crc32"]
            ids.copy(_file(job.parts, piece.part, plan.split, "npy"), *piece.tokens, crc32)
    with _replacing(job, names[1]) as raw:
        documents = NpyWriter(raw, "<u8", n_documents + 1)
        at = 0
        for piece in plan.pieces:
            starts = starts_of(job.parts, piece.part, plan.split)[slice(*piece.documents)]
            shifted = starts.astype(np.int64) + (at - piece.tokens[0])
            documents.write(shifted.astype("<u8").tobytes())
            at += piece.tokens[1] - piece.tokens[0]
        documents.write(struct.pack("<Q", at))
    n_bytes = sum(_text_bytes(job, plan.split, piece) for piece in plan.pieces)
    shard = Shard(*names, plan.n_tokens, n_documents, n_bytes, ids.crc32, documents.crc32)
    last = plan.pieces[-1]
    done = {"shard": asdict(shard), "end": [last.documents[1], last.tokens[1]]}
    write_bytes(record_of(job.parts, plan), json.dumps(done).encode())
    return shard


def _text_bytes(job: EncodeJob, split: int, piece: Piece) -> int:
    import numpy as np

    if piece.whole is not None:
        return piece.whole["bytes"]
    sizes = np.load(_file(job.parts, piece.part, split, "sizes.npy"), mmap_mode="r")
    return int(sizes[slice(*piece.documents)].sum())


@contextlib.contextmanager
def _replacing(job: EncodeJob, name: str) -> Iterator[BinaryIO]:
    """Opens a file that becomes `name` among the shards when it is whole. Until then it lies among
    the parts, so that what a killed worker leaves goes with them."""
    beside = job.parts / f".{name}.{secrets.token_hex(6)}.tmp"
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(job.out / name)
    finally:
        beside.unlink(missing_ok=True)
