"""One writer at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

LOCK_NAME: Final = ".lock"
# Windows lets nobody read a locked byte: it is one behind the text.
_LOCKED_BYTE: Final = 1 << 20
_TAKEN: Final = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


@contextlib.contextmanager
def locked(
    folder: Path, doing: str = "another run is writing to", wait_s: float = 0.0
) -> Iterator[None]:
    """Keeps other processes, and other writers of this one, out of `folder`, which exists.

    The system lets go of the lock when the process ends, however it ends. File systems that know no
    locks are written to without one.

    Args:
        folder: What is to be written to.
        doing: What the other one does, for the message.
        wait_s: Seconds to wait for another writer to end.

    Raises:
        ValueError: Another is in it; the message has the number of its process.
    """
    path = folder / LOCK_NAME
    until = time.monotonic() + wait_s
    while True:
        try:
            file = _open_locked(path, doing)
            break
        except ValueError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file
            path.unlink()
        file.close()


def _open_locked(path: Path, doing: str) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
            if _is_at(file, path):
                # For messages alone, so a full disk may keep it out.
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), 0)
                    os.write(file.fileno(), str(os.getpid()).encode())
                return file
        except OSError as error:
            file.seek(0)
            pid = file.read(32).decode(errors="replace").strip()
            file.close()
            if error.errno not in _TAKEN:
                raise
            raise ValueError(
                f"{path.parent}: {doing} this folder"
                f"{f', process {pid}' if pid else ''}; wait for it, end it, or choose another "
                "folder"
            ) from None
        except BaseException:
            file.close()
            raise
        file.close()  # its writer has just ended, and removed it


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether `file` is still what the path names."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
