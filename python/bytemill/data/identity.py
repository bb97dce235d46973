"""Whether input files are those that a run was begun with: by their content."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bytemill.data.inputs import InputFile

_PIECE = 1 << 20


class Identity:
    """What is known of files when a run begins: size and CRC-32 of each, and when it was changed.

    A file is read whole for it, once more than for its ids, by as many threads as there are files
    and `num_threads` (at most one for each core). What is not a file, such as a pipe, can be read
    only once, and has no identity.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        num_threads: int | None = None,
        checksums: Callable[[], Sequence[int | None]] | None = None,
    ) -> None:
        self._files = files
        self._stamps = [_stamp(file) for file in files]
        cores = os.cpu_count() or 1
        n = max(1, min(len(files), cores, num_threads or cores))
        sums = checksums() if checksums is not None else _checksums(files, n)
        self.inputs: list[dict[str, Any]] = [
            {"path": file.shown_path, "size": file.size, "crc32": crc32}
            for file, crc32 in zip(files, sums, strict=True)
        ]
        """For the manifest; "crc32" is None for what is not a file."""

    def check_unchanged(self) -> None:
        """ValueError, naming it, if a file was changed since: what was read is neither of both."""
        for file, before in zip(self._files, self._stamps, strict=True):
            if _stamp(file) != before:
                raise ValueError(
                    f"{file.path}: the file was changed while it was being read; remove the output "
                    "folder and encode again when nothing writes to the file"
                )


def why_other(theirs: Any, ours: Sequence[dict[str, Any]]) -> str | None:
    """Why these are not the inputs of that run, or None if they are; both as in a manifest."""
    if not isinstance(theirs, list) or not all(isinstance(entry, dict) for entry in theirs):
        return "it is damaged"
    if [entry.get("path") for entry in theirs] != [entry["path"] for entry in ours]:
        return "it was made from other input files"
    for then, now in zip(theirs, ours, strict=True):
        if now["crc32"] is None:
            return (
                f"it was made from {now['path']}, which is not a file that could be compared "
                "with what was read then"
            )
        if then != now:
            return f"the input file {now['path']} was changed since"
    return None


def _stamp(file: InputFile) -> tuple[int, int] | None:
    if not file.path.is_file():
        return None
    status = file.path.stat()
    return status.st_size, status.st_mtime_ns


def _checksums(files: Sequence[InputFile], num_threads: int) -> list[int | None]:
    stop = threading.Event()
    if num_threads > 1:
        try:
            with ThreadPoolExecutor(num_threads) as pool:
                try:
                    return list(pool.map(lambda file: _crc32(file, stop), files))
                except BaseException:  # Ctrl-C must not wait for the rest
                    stop.set()
                    raise
        except RuntimeError:  # no thread could be started, as there was no memory for its stack
            stop.clear()
    return [_crc32(file, stop) for file in files]


def _crc32(file: InputFile, stop: threading.Event) -> int | None:
    if not file.path.is_file():
        return None
    crc32 = 0
    with file.path.open("rb", buffering=0) as raw:
        while not stop.is_set() and (piece := raw.read(_PIECE)):
            crc32 = zlib.crc32(piece, crc32)
    return crc32
