"""Many files at a time, into a folder with a record of what they are."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bytemill._arguments import check_limit
from bytemill.data.download.fetch import Fetch, Patience, Remote, Stopped
from bytemill.data.download.http import DownloadError, Passing
from bytemill.data.download.manifest import (
    MANIFEST_NAME,
    DownloadManifest,
    KnownFile,
    digest_of,
    read_checksums,
)
from bytemill.data.download.sources import Answer, Source, find_source
from bytemill.files import lock, named, naming_full_disk

Progress = Callable[[int, int], None]
_LOCK: Final = ".download.lock"
_LOOK: Final = 0.1
"""Seconds between looks at the workers: Ctrl-C is noticed between them."""
_GRACE: Final = 0.5
"""Seconds that workers get to end. One that waits for its server ends later, and writes nothing."""


def download(
    name: str,
    out: str | os.PathLike[str],
    *,
    shards: int | None = None,
    validation: str | None = None,
    checksums: str | os.PathLike[str] | None = None,
    workers: int = 4,
    verify: bool = False,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> DownloadManifest:
    """Fetches a dataset's files; what is there already is left as it is.

    A file gets its name only when it is whole and its size and SHA-256 are those that the hub, the
    `checksums` or the folder's record tell; where nobody tells, the first fetch is recorded, and a
    later one is compared with it. The file to validate on is fetched with any number of the others,
    and is the same for all of them. Interrupted, the same call goes on where it was.

    Args:
        name: What to fetch; see `bytemill.data.download.sources.find_source`.
        out: The folder; it is made.
        shards: How many files to train on, from the first; all by default.
        validation: The name of the file to validate on, if not the usual one.
        checksums: A file as sha256sum writes it, for servers that tell no checksums.
        workers: Files at a time.
        verify: Read what is there, and compare its checksums.
        patience: With the server.
        progress: Called with the bytes that are there and those that there will be, as far as is
            known.

    Returns:
        The folder's record.

    Raises:
        DiskFullError: There is no room; with some made, the same call goes on.
        DownloadError: A server does not have a file, or not the one that was expected.
        OSError: The folder cannot be written to.
        ValueError: The folder holds something else, or a file of it was changed; an argument is
            wrong.
    """
    folder = named("out", out)
    check_limit("shards", shards)
    check_limit("workers", workers)
    sums = read_checksums(checksums) if checksums is not None else {}
    patience = patience or Patience()
    manifest = DownloadManifest.load(folder)
    if manifest is not None and manifest.source != name:
        raise ValueError(
            f"out={os.fspath(out)!r}: the folder holds {manifest.source}; choose another for {name}"
        )
    source = find_source(
        name,
        revision=manifest.revision if manifest else None,
        validation=validation or (manifest.validation if manifest else None),
        timeout=patience.timeout,
        retry=lambda ask: _retried(ask, patience),
    )
    held_out = source.validation.name if source.validation else None
    if manifest is None:
        manifest = DownloadManifest(name, source.revision, held_out)
    elif manifest.validation != held_out:
        raise ValueError(
            f"validation={validation!r}: the folder's is {manifest.validation!r}, and figures "
            "would not compare; choose another folder"
        )
    with naming_full_disk(folder, "run the same command again"):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            wanted = [_with_sum(remote, manifest, sums) for remote in _wanted(source, shards)]
            _check_held(folder, manifest, wanted, verify)
            manifest.save(folder)
            missing = [remote for remote in wanted if not Path(folder, remote.name).exists()]
            there = sum(manifest.files[r.name].size for r in wanted if r not in missing)
            crew = _Crew(folder, manifest, source, patience, missing, there)
            crew.run(workers, progress)
    return manifest


def _wanted(source: Source, shards: int | None) -> list[Remote]:
    """Validation comes first: it is wanted with any number of the others."""
    held_out = [source.validation] if source.validation else []
    return [*held_out, *source.train[:shards]]


def _with_sum(remote: Remote, manifest: DownloadManifest, sums: dict[str, str]) -> Remote:
    """A file with what is known of it from all sides, which must agree."""
    sha256, size = remote.sha256, remote.size
    known = manifest.files.get(remote.name)
    told = sums.get(remote.name)
    for other, where in ((told, "checksums"), (known.sha256 if known else None, MANIFEST_NAME)):
        if sha256 and other and sha256 != other:
            raise ValueError(
                f"{remote.name}: its SHA-256 is {other} by {where}, but {sha256} elsewhere: the "
                "file changed on the server, or one of them is of something else"
            )
        sha256 = sha256 or other
    if known is not None and size is None:
        size = known.size
    return dataclasses.replace(remote, sha256=sha256, size=size)


def _check_held(
    folder: Path, manifest: DownloadManifest, wanted: list[Remote], verify: bool
) -> None:
    """Finds out whether what is there is what it should be; takes in what another program left.

    Raises:
        ValueError: It is not; the message names the file.
    """
    for remote in wanted:
        path = Path(folder, remote.name)
        if not path.exists():
            continue
        known = manifest.files.get(remote.name)
        if known is None and remote.sha256 is None:
            raise ValueError(
                f"{path}: it is there, but nothing is known of it; move it away to have it fetched"
            )
        size = path.stat().st_size
        is_same = remote.size is None or size == remote.size
        if is_same and (known is None or verify):
            is_same = digest_of(path) == remote.sha256
        if not is_same:
            raise ValueError(
                f"{path}: it is not the file that was, or would be, fetched: it was changed, "
                "damaged or truncated; move it away to have it fetched"
            )
        if known is None:
            manifest.files[remote.name] = KnownFile(size, remote.sha256 or "")


class _Crew:
    """Workers that fetch files, and what they have done."""

    def __init__(
        self,
        folder: Path,
        manifest: DownloadManifest,
        source: Source,
        patience: Patience,
        missing: list[Remote],
        there: int,
    ) -> None:
        self._folder, self._manifest, self._source = folder, manifest, source
        self._patience, self._missing = patience, missing
        self._todo: queue.SimpleQueue[Remote] = queue.SimpleQueue()
        for remote in missing:
            self._todo.put(remote)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._bytes = self._there = there
        self._failure: BaseException | None = None

    def run(self, workers: int, progress: Progress | None) -> None:
        """Fetches all; raises what the first worker that failed raised."""
        # As daemons, because a read from a silent server cannot be ended from here.
        threads = [
            threading.Thread(target=self._work, name="bytemill-download", daemon=True)
            for _ in range(min(workers, len(self._missing)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(_LOOK)
                    if progress is not None:
                        progress(self._bytes, self._total())
        finally:
            self._stop.set()
            end = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(end - time.monotonic(), 0))
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                remote = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._fetch(remote)
            except Stopped:
                return
            except BaseException as error:
                with self._lock:
                    self._failure = self._failure or error
                self._stop.set()
                return

    def _fetch(self, remote: Remote) -> None:
        place = Path(self._folder, remote.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        fetch = Fetch(
            remote, place, self._source.headers, self._patience, self._stop, self._on_bytes
        )
        known = fetch.run()
        _flush(fetch.part)
        with self._lock:
            if self._stop.is_set():
                return
            # First the record: a file without one would have to be fetched again.
            self._manifest.files[remote.name] = known
            self._manifest.save(self._folder)
            fetch.part.replace(place)
        fetch.forget()

    def _on_bytes(self, n: int) -> None:
        with self._lock:
            self._bytes += n

    def _total(self) -> int:
        """Bytes of all files: known ones, and the others as large as these on the average."""
        known = [remote.size for remote in self._missing if remote.size is not None]
        known += [self._manifest.files[r.name].size for r in self._missing if self._is_new(r)]
        unknown = len(self._missing) - len(known)
        mean = sum(known) / len(known) if known else 0
        return max(self._there + sum(known) + round(mean * unknown), self._bytes)

    def _is_new(self, remote: Remote) -> bool:
        return remote.size is None and remote.name in self._manifest.files


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _retried(ask: Callable[[], Answer], patience: Patience) -> Answer:
    for attempt in range(1, patience.tries + 1):
        try:
            return ask()
        except Passing as error:
            if attempt == patience.tries:
                raise DownloadError(f"the list of files: {error}; gave up") from error
            time.sleep(max(patience.before(attempt), min(error.wait or 0, patience.longest_wait)))
    raise AssertionError("unreachable")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other programs from fetching into the folder."""
    with (folder / _LOCK).open("ab") as file:
        try:
            lock(file.fileno())
        except OSError:
            raise ValueError(
                f"{folder}: another download into it is running; wait for it, or name another"
            ) from None
        yield
