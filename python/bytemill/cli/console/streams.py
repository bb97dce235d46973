"""stdout and stderr that no program dies of.

A full disk, a reader that has gone, or a terminal that only knows ASCII must not undo or hide what
a program has done.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast


def tell(line: str) -> None:
    """Prints a line on stderr in one piece.

    `print` writes the line's end on its own, and what another thread says may come before it.
    """
    print(f"{line}\n", end="", file=sys.stderr, flush=True)


class OutputClosed(Exception):
    """Whoever read stdout has gone: `| head -1`. Nothing is wrong, and nothing more is wanted."""


class Guarded:
    """A stream whose first failure is kept, and which swallows what comes after it.

    Args:
        stream: Where to write.
        stops: Whether the failure is raised, once, for programs that are of no use without their
            output: `OutputClosed` or OSError.
    """

    def __init__(self, stream: TextIO, *, stops: bool) -> None:
        self._stream = stream
        self._stops = stops
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Writes text, or drops it."""
        if self.failure is None:
            with self._watched():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes, if that still has a point."""
        if self.failure is None:
            with self._watched():
                self._stream.flush()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            if self._stops:
                self._stops = False
                if is_closed(error):
                    raise OutputClosed from None
                raise OSError(error.errno, error.strerror, "stdout") from None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    def release(self) -> None:
        """Lets the interpreter end without a word about what could not be written."""
        if self.failure is not None:
            # As the documentation of `signal` advises: the buffer is flushed to nowhere.
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), self._stream.fileno())


def is_closed(error: OSError) -> bool:
    """Whether the reader has gone; Windows says EINVAL."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


@contextlib.contextmanager
def guarded(*, stops: bool) -> Iterator[Guarded | None]:
    """Guards both streams within the block; yields stdout, or None if there is none.

    `stops` is for stdout; stderr, where a program only speaks of itself, never stops it.
    """
    before = sys.stdout, sys.stderr
    errors: list[tuple[Any, str]] = []
    for stream in before:
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        handler = getattr(stream, "errors", None)
        if hasattr(stream, "reconfigure") and (handler == "strict" or encoding != "utf8"):
            errors.append((stream, handler or "strict"))
            stream.reconfigure(errors="backslashreplace")
    # Without a console, as under pythonw, there are no streams.
    out = Guarded(sys.stdout, stops=stops) if sys.stdout else None
    err = Guarded(sys.stderr, stops=False) if sys.stderr else None
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out
    finally:
        for stream, handler in errors:
            stream.reconfigure(errors=handler)
        sys.stdout, sys.stderr = before
        for guard in (out, err):
            if guard is not None:
                with contextlib.suppress(OutputClosed, OSError):
                    guard.flush()
                guard.release()
