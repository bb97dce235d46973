"""What a worker does: one task each of counting, adding counts up, checksums, encoding, shards.

Each can be done any number of times with one result: a task of which a machine dies is done again
by another, and what both have made is the same and there once.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypedDict

from bytemill import _core
from bytemill._core import Counts
from bytemill.data.on_ray import parts
from bytemill.data.on_ray.checksum import combine
from bytemill.data.on_ray.cluster import ClusterError, Ticket
from bytemill.data.on_ray.job import Content, CountJob, EncodeJob, job_of
from bytemill.data.on_ray.npy import data_crc32
from bytemill.data.on_ray.parts import Part
from bytemill.data.on_ray.reading import BlockPart, FilePart, check_there
from bytemill.files import write_bytes

RESULT: Final = "part.json"
MARK: Final = "run"
DESCR: Final = {"uint16": "<u2", "uint32": "<u4"}
_ALL_IN_ONE: Final = 1 << 62


class Made(TypedDict):
    """What a split has of a part."""

    tokens: int
    documents: int
    bytes: int
    """Of their text."""
    crc32: int
    """Of the ids as they lie in the file, without its header."""


def count(ticket: Ticket, index: int, content: Content, *blocks: Any) -> tuple[int, bytes]:
    """Counts the pretokens of a part: how many bytes they have, and the counts, as bytes."""
    job: CountJob = job_of(ticket)
    reader = job.reader(content, blocks, f"the dataset's part {index}")
    counting = job.counting_pass()
    with reader.placing_errors():
        feed(counting, reader)
        counts = counting.finish()
    return counts.n_bytes, counts.to_bytes()


def feed(counting: _core.CountingPass, reader: FilePart | BlockPart) -> None:
    """Feeds what is read."""
    for kind, name, what in reader.sources():
        if kind == "file":
            counting.feed_files([what])
        elif kind == "range":
            path, start, end = what
            counting.feed_chunks(name, parts.chunks(Path(path), start, end))
        elif kind == "chunks":
            counting.feed_chunks(name, what)
        else:
            counting.feed(what)


def add_up(ticket: Ticket, *packed: bytes) -> tuple[int, bytes]:
    """Adds counts up."""
    job: CountJob = job_of(ticket)
    total = sum_of(packed, job)
    return total.n_bytes, total.to_bytes()


def sum_of(packed: Iterable[bytes], job: CountJob) -> Counts:
    """The sum of counts. They come as bytes, which take a fraction of the memory, and two at a time
    are counts again."""
    total: Counts | None = None
    for one in packed:
        counts = Counts.from_bytes(one)
        if total is None:
            total = counts
        else:
            total.merge(counts)
    return job.empty() if total is None else total


def checksum(ticket: Ticket, part: Part) -> tuple[list[tuple[int, int]], None]:
    """For each segment of a part the CRC-32 of its bytes, and how many they are."""
    job_of(ticket)
    sums = []
    for segment in part:
        check_there(segment)
        crc32 = 0
        for chunk in parts.chunks(segment.file.path, segment.start, segment.end):
            crc32 = zlib.crc32(chunk, crc32)
        sums.append((crc32, segment.end - segment.start))
    return sums, None


def joined(sums: list[tuple[int, int]]) -> int:
    """The CRC-32 of a file from those of its segments, in order."""
    crc32 = 0
    for one, n_bytes in sums:
        crc32 = combine(crc32, one, n_bytes)
    return crc32


def encode(ticket: Ticket, index: int, content: Content, *blocks: Any) -> tuple[list[Made], None]:
    """Encodes a part to a folder of its own, which then lies whole among the parts."""
    job: EncodeJob = job_of(ticket)
    check_mark(job)
    folder = job.parts / f"{index:06}"
    if (made := made_before(folder)) is not None:
        return made, None
    reader = job.reader(content, blocks, f"the dataset's part {index}")
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    beside.mkdir()
    try:
        with reader.placing_errors():
            last = _core.encode_shards(
                job.tokenizer.vocabulary.encoder,
                reader.sources(),
                str(beside),
                job.dtype,
                _ALL_IN_ONE,
                _not_stored,
                sizes=True,
                validation_fraction=job.validation_fraction,
                separator=job.separator,
                separator_first=job.separator_first,
                num_threads=job.num_threads,
                errors=job.form.errors,
            )
        descr = DESCR[job.dtype]
        made = [_made(split["shards"], descr) for split in json.loads(last)["splits"]]
        write_bytes(beside / RESULT, json.dumps(made).encode())
        with contextlib.suppress(OSError):  # another attempt was there first
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    found = made_before(folder)
    if found is None:
        raise OSError(f"{folder}: this folder cannot be written")
    return found, None


def check_mark(job: EncodeJob) -> None:
    """ClusterError unless the folder of parts is the one that the driver has made."""
    try:
        found = (job.parts / MARK).read_text()
    except OSError:
        found = ""
    if found != job.key:
        raise ClusterError(
            f"{job.out}: a Ray worker does not see this folder as the driver does; write to "
            "storage that all nodes mount under this path"
        )


def _not_stored(checkpoint: str) -> None:
    """A part is made whole or again."""


def _made(shards: list[dict[str, int]], descr: str) -> Made:
    if not shards:
        return {"tokens": 0, "documents": 0, "bytes": 0, "crc32": 0}
    [one] = shards
    return {
        "tokens": one["tokens"],
        "documents": one["documents"],
        "bytes": one["bytes"],
        "crc32": data_crc32(one["crc32"], descr, one["tokens"]),
    }


def made_before(folder: Path) -> list[Made] | None:
    """What a part is known to hold, if it has been made."""
    try:
        made: list[Made] = json.loads((folder / RESULT).read_text())
    except FileNotFoundError:
        return None
    return made
