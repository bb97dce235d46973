"""One file from a server, however often the connection breaks; and never a wrong one.

What has come lies beside the file's place in `.NAME.part`, with the server's word for its state
(ETag) in `.NAME.part.json`. A later try asks for the rest only if the server promises, or a
checksum will show, that it is the rest of the same file.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bytemill.data.download.http import (
    DownloadError,
    Passing,
    RangeRefused,
    Response,
    WrongFile,
    get,
)
from bytemill.data.download.manifest import KnownFile
from bytemill.files import write_bytes

_PIECE: Final = 1 << 18
_LONGEST_WAIT: Final = 600.0
"""Seconds; a server that asks for more is told of instead."""


@dataclass(frozen=True)
class Remote:
    """A file on a server, and what is known of it."""

    name: str
    """Its path in the folder, with "/"."""
    url: str
    size: int | None = None
    """Bytes."""
    sha256: str | None = None


@dataclass(frozen=True)
class Patience:
    """How a server's faults are met."""

    timeout: float = 30.0
    """Seconds of silence that end a try."""
    tries: int = 8
    """In a row without a byte more."""
    first_wait: float = 1.0
    """Seconds between the first tries; twice as long each time."""
    longest_wait: float = 60.0

    def before(self, attempt: int) -> float:
        """Seconds to wait before the `attempt`th further try: random, so that many programs do not
        come back at the same moment."""
        most = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_wait)
        return random.uniform(0.5, 1.0) * most


class Stopped(Exception):
    """The program is to end; what has come is kept."""


class Fetch:
    """Fetches one file; `part` is whole and checked after `run`.

    Args:
        remote: What to fetch.
        place: Where it will be.
        headers: Of the requests.
        patience: With the server.
        stop: Set when it is to stop.
        on_bytes: Called with the change of the number of bytes that are here.
    """

    def __init__(
        self,
        remote: Remote,
        place: Path,
        headers: dict[str, str],
        patience: Patience,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._remote, self._headers = remote, headers
        self._patience, self._stop, self._on_bytes = patience, stop, on_bytes
        self.part = place.with_name(f".{place.name}.part")
        self._notes = place.with_name(f".{place.name}.part.json")
        self._etag: str | None = None
        self._size, self._sha256 = remote.size, remote.sha256
        self._held = 0
        self._digest = hashlib.sha256()

    def run(self) -> KnownFile:
        """Fetches it.

        Raises:
            DownloadError: It is not to be had, or is another than was expected.
            OSError: The disk is full, or the folder cannot be written to.
            Stopped: `stop` was set.
        """
        self._take_up()
        failed, begun, wrong, furthest = 0, 0, 0, self._held
        while True:
            held_before = self._held
            try:
                self._attempt()
                return self._checked()
            except Passing as error:
                wrong += isinstance(error, WrongFile)
                if wrong > 1:
                    raise DownloadError(f"{self._remote.url}: {error}") from error
                begun += self._held < held_before
                failed = 0 if self._held > furthest else failed + 1
                furthest = max(furthest, self._held)
                if max(failed, begun) >= self._patience.tries:
                    message = f"{self._remote.url}: {error}; gave up after {max(failed, begun)}"
                    raise DownloadError(f"{message} tries; {_KEPT}") from error
                wait = self._patience.before(max(failed, 1))
                if error.wait is not None:
                    if error.wait > _LONGEST_WAIT:
                        raise DownloadError(
                            f"{self._remote.url}: {error}; the server asks to wait "
                            f"{error.wait:.0f} s; {_KEPT}"
                        ) from error
                    wait = max(wait, error.wait)
                if self._stop.wait(wait):
                    raise Stopped from None

    def forget(self) -> None:
        """Removes what is beside the part, after it got its name."""
        self._notes.unlink(missing_ok=True)

    def _take_up(self) -> None:
        """Goes on with what another run has left, if it is known what it is the beginning of."""
        notes = _read_notes(self._notes)
        same = notes.get("url") == self._remote.url and notes.get("sha256") == self._sha256
        etag, size = notes.get("etag"), notes.get("size")
        if not self.part.is_file() or not same or not (self._sha256 or isinstance(etag, str)):
            self._drop()
            return
        self._etag = etag if isinstance(etag, str) else None
        self._size = self._size if self._size is not None or type(size) is not int else size
        with self.part.open("rb") as file:
            while piece := file.read(_PIECE):
                self._add(piece)
                if self._stop.is_set():
                    raise Stopped
        if self._size is not None and self._held > self._size:
            self._drop()

    def _attempt(self) -> None:
        """Adds what is missing."""
        if self._size is not None and self._held == self._size and self.part.is_file():
            return
        if self._held and not (self._etag or self._sha256):
            self._drop()
        headers = dict(self._headers)
        if self._held:
            headers["Range"] = f"bytes={self._held}-"
            if self._etag:
                headers["If-Range"] = self._etag
        try:
            response = get(self._remote.url, headers, self._patience.timeout)
        except RangeRefused:
            self._drop()
            raise
        with response:
            self._begin(response)
            self._receive(response)

    def _begin(self, response: Response) -> None:
        """Finds out what the server sends, and where it goes."""
        if self._sha256 is None:
            self._sha256 = response.sha256
        if response.status == 206:
            first, total = response.range()
            changed = self._etag is not None and response.validator != self._etag
            if first != self._held or changed or _differ(total, self._size):
                self._drop()
                raise Passing("the file changed on the server while it was fetched")
            self._size = self._size if total is None else total
            return
        if response.status != 200:
            raise Passing(f"the server answered {response.status}")
        # The whole file: the server knows no ranges, or the file has changed.
        self._drop()
        length = response.length
        if _differ(length, self._remote.size):
            raise WrongFile(
                f"the server's file has {length:,} bytes, and {self._remote.size:,} were expected"
            )
        if not response.ends_itself and self._remote.size is None and self._sha256 is None:
            raise DownloadError(
                f"{self._remote.url}: the server does not say how long the file is, so that a part "
                "could be taken for the whole; give its checksum (checksums=)"
            )
        self._size = self._remote.size if length is None else length
        self._etag = response.validator
        self._sha256 = self._remote.sha256 or response.sha256
        notes = {"url": self._remote.url, "etag": self._etag, "size": self._size}
        write_bytes(
            self._notes, json.dumps({**notes, "sha256": self._remote.sha256}).encode("ascii")
        )

    def _receive(self, response: Response) -> None:
        with self.part.open("ab") as file:
            while True:
                piece = response.read(_PIECE)
                if self._stop.is_set():
                    raise Stopped
                if not piece:
                    break
                if self._size is not None and self._held + len(piece) > self._size:
                    self._drop()
                    raise Passing(f"the server sends more than the {self._size:,} bytes it said")
                file.write(piece)
                self._add(piece)
        if self._size is not None and self._held < self._size:
            raise Passing(f"the connection ended after {self._held:,} of {self._size:,} bytes")

    def _checked(self) -> KnownFile:
        """The whole part, if it is what was expected."""
        found = self._digest.hexdigest()
        expected = self._sha256
        if expected is not None and found != expected:
            self._drop()
            raise WrongFile(f"its SHA-256 is {found}, and {expected} was expected: it was not used")
        if self._remote.name.endswith(".parquet") and not _is_parquet(self.part):
            self._drop()
            raise WrongFile("what the server sent is not a parquet file: it was not used")
        return KnownFile(self._held, found)

    def _add(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._held += len(piece)
        self._on_bytes(len(piece))

    def _drop(self) -> None:
        """Begins anew."""
        self._on_bytes(-self._held)
        self._held, self._digest = 0, hashlib.sha256()
        self._etag, self._size, self._sha256 = None, self._remote.size, self._remote.sha256
        for path in (self.part, self._notes):
            path.unlink(missing_ok=True)


_KEPT: Final = "what has come is kept, and the same command goes on from there"


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other


def _is_parquet(path: Path) -> bool:
    """Whether a file begins and ends as the format says, unlike an error page."""
    with path.open("rb") as file:
        begins = file.read(4) == b"PAR1"
        return begins and file.seek(0, 2) >= 12 and file.seek(-4, 2) > 0 and file.read() == b"PAR1"


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        notes = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # nothing is known of the part then, and it is fetched anew
    return notes if isinstance(notes, dict) else {}
