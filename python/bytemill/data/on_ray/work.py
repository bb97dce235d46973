"""What a worker does: one task each of counting, adding counts up, checksums, encoding, shards.

Each can be done any number of times with one result: a task of which a machine dies is done again
by another, and what both have made is the same and there once.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from bytemill import _core
from bytemill._core import Counts
from bytemill.data.on_ray import parts
from bytemill.data.on_ray.checksum import combine
from bytemill.data.on_ray.cluster import ClusterError
from bytemill.data.on_ray.job import Content, CountJob, EncodeJob, job_of
from bytemill.data.on_ray.parts import Part
from bytemill.data.on_ray.reading import BlockPart, FilePart, check_there
from bytemill.data.shards import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RESULT: Final = "part.json"
SIZES: Final = "sizes.npy"
MARK: Final = "run"
_ALL_IN_ONE: Final = 1 << 62
_MEMORY: Final = Path("/dev/shm")


class Made(TypedDict):
    """What a split has of a part."""

    tokens: int
    documents: int
    bytes: int


def count(
    holder: list[Any], key: str, index: int, content: Content, *blocks: Any
) -> tuple[int, bytes]:
    """Counts the pretokens of a part: how many bytes of text there are, and the counts, packed."""
    job: CountJob = job_of(holder, key)
    reader = job.reader(content, blocks, f"the dataset's part {index}")
    counting = job.counting_pass()
    with reader.placing_errors():
        for kind, name, what in reader.sources():
            if kind == "file":
                counting.feed_files([what])
            elif kind == "chunks":
                counting.feed_chunks(name, what)
            else:
                counting.feed(what)
        counts = counting.finish()
    return counts.n_bytes, pack(counts)


def add_up(holder: list[Any], key: str, *packed: bytes) -> tuple[int, bytes]:
    """Adds counts up."""
    job: CountJob = job_of(holder, key)
    total = job.empty()
    for counts in packed:
        total.merge(unpack(counts))
    return total.n_bytes, pack(total)


def pack(counts: Counts) -> bytes:
    """Counts as bytes, with their checksum: those of the file that `Counts.save` writes."""
    with _scratch() as path:
        counts.save(path)
        return path.read_bytes()


def unpack(packed: bytes) -> Counts:
    """Counts from their bytes; ValueError if these are damaged."""
    with _scratch() as path:
        path.write_bytes(packed)
        return Counts.load(path)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    # In memory, where the system has such a folder.
    with tempfile.TemporaryDirectory(
        prefix="bytemill-", dir=_MEMORY if _MEMORY.is_dir() else None
    ) as folder:
        yield Path(folder, "counts")


def checksum(holder: list[Any], key: str, part: Part) -> tuple[list[tuple[int, int]], None]:
    """For each segment of a part the CRC-32 of its bytes, and how many they are."""
    job_of(holder, key)
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


def encode(
    holder: list[Any], key: str, index: int, content: Content, *blocks: Any
) -> tuple[list[Made], None]:
    """Encodes a part to a folder of its own, which then lies whole among the parts."""
    job: EncodeJob = job_of(holder, key)
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
                validation_fraction=job.validation_fraction,
                separator=job.separator,
                separator_first=job.separator_first,
                num_threads=job.num_threads,
                errors=job.errors,
            )
        made = [_made(split["shards"]) for split in json.loads(last)["splits"]]
        if isinstance(reader, BlockPart):  # there is no reading it again
            _save_sizes(beside, text_sizes(reader, job.validation_fraction))
        (beside / RESULT).write_text(json.dumps(made))
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


def _made(shards: list[dict[str, int]]) -> Made:
    one = shards[0] if shards else {"tokens": 0, "documents": 0, "bytes": 0}
    return {"tokens": one["tokens"], "documents": one["documents"], "bytes": one["bytes"]}


def made_before(folder: Path) -> list[Made] | None:
    """What a part is known to hold, if it has been made."""
    try:
        made: list[Made] = json.loads((folder / RESULT).read_text())
    except FileNotFoundError:
        return None
    return made


def text_sizes(
    reader: FilePart | BlockPart, validation_fraction: float
) -> list[npt.NDArray[np.uint64]]:
    """For each split the bytes of text of each of its documents in a part."""
    import numpy as np

    found: tuple[list[int], ...] = tuple([] for _ in SPLITS)
    limit = validation_fraction * 2**32
    for document in reader.documents():
        data = document.encode()
        found[limit > 0 and zlib.crc32(data) < limit].append(len(data))
    return [np.array(sizes, np.uint64) for sizes in found]


def _save_sizes(folder: Path, sizes: list[npt.NDArray[np.uint64]]) -> None:
    import numpy as np

    for split, lengths in zip(SPLITS, sizes, strict=True):
        np.save(folder / f"{split}-{SIZES}", lengths)
