"""Files that are either whole or absent, JSON objects in files, and the error of a full disk.

A file is written beside its place, then renamed over it.
"""

import contextlib
import errno
import json
import os
import re
import reprlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

_NOT_MAPPED: Final = ("failed to map segment", "cannot allocate memory")
"""What glibc says, and ImportError with it, where there is no memory for a library."""

_BEGUN_SECONDS: Final = 2.0
"""How long a file may be there without being locked by whoever is writing it."""


class DiskFullError(OSError):
    """The disk, or the quota on it, has no room left.

    What had been finished is kept: with room made, the same work goes on from there.
    """


@contextlib.contextmanager
def naming_full_disk(place: str | os.PathLike[str], how_to_go_on: str) -> Iterator[None]:
    """Turns an OSError that means a full disk into `DiskFullError`, which says what to do.

    Args:
        place: The file or folder being written, named where the error names none.
        how_to_go_on: "make room and ... to go on", for the message.
    """
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in full:
            raise
        message = f"{os.strerror(error.errno)}; make room and {how_to_go_on} to go on"
        raise DiskFullError(error.errno, message, error.filename or os.fspath(place)) from error


@contextlib.contextmanager
def raising_memory_error() -> Iterator[None]:
    """Turns an OSError or ImportError that means that memory is short into MemoryError, as all else
    raises it.

    Opening a file takes memory, and so does listing a folder, which is what importing does. A
    module that is a library, as some of Python's own are, has to be mapped.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise MemoryError(str(error)) from error
    except ImportError as error:
        if not any(words in str(error).lower() for words in _NOT_MAPPED):
            raise
        raise MemoryError(str(error)) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of `path` when the block ends well.

    Readers see the old file or the new one, never a part; when the block raises, `path` is as it
    was and nothing is left beside it. The data is flushed to disk before the rename. What a killed
    process left beside `path` is removed: its file is not locked any more. Of a symbolic link it is
    the file at its end that is replaced; a device or a pipe is written to, as nothing can take its
    place.

    Raises:
        OSError: If the folder cannot be written to, or `path` is one.
        ValueError: If `path` is empty.
    """
    target = named("path", path)
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(target.parent))
    _remove_abandoned(target)
    # Not tempfile: its files are private to the user, while these should follow the umask.
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with beside.open("xb") as file:
            # Where nothing can be locked, nothing is found abandoned either.
            with contextlib.suppress(OSError):
                lock(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Makes the folder; if the block raises and the folder is new and empty, removes it again."""
    new = [path for path in [folder, *folder.parents] if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def _remove_abandoned(target: Path) -> None:
    """Removes the files that `replacing` began for `target` in processes that are gone."""
    name = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{12}\.tmp")
    try:
        found = [path for path in target.parent.iterdir() if name.fullmatch(path.name)]
    except OSError:
        return  # whoever writes there says why
    for path in found:
        with contextlib.suppress(OSError), path.open("ab") as file:
            # One that was made just now may not be locked yet.
            if time.time() - os.fstat(file.fileno()).st_mtime > _BEGUN_SECONDS:
                lock(file.fileno())
                path.unlink()


def lock(fd: int) -> None:
    """Locks an open file until it is closed, or the process ends however it ends.

    Raises:
        OSError: If another process, or another opening of the file in this one, has locked it; if
            files cannot be locked there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def named(what: str, path: str | os.PathLike[str]) -> Path:
    """`path`, given as the argument `what`.

    Raises:
        TypeError: It is not a path; bytes, which not every system can name files by, are not.
        ValueError: It is empty, which means "." to pathlib: a program's unset variable is not to
            write into the folder where it happens to run. It holds what no path does.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(
            f"{what}={reprlib.repr(path)}: expected a path, a str or an os.PathLike such as "
            "pathlib.Path"
        )
    if "\0" in text:
        raise ValueError(f"{what}={reprlib.repr(text)}: a path cannot hold a null character")
    if not text:
        raise ValueError(f"{what}={path!r}: the path is empty; for the current folder pass '.'")
    return Path(path)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path`, replacing what was there in one step; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


def strict_json(text: str) -> Any:
    """What JSON says; ValueError for NaN and Infinity too, which Python reads and JSON lacks."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number in JSON")

    return json.loads(text, parse_constant=refuse)


def read_json_object(
    path: str | os.PathLike[str], *, loads: Callable[[str], Any] = json.loads
) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        loads: What reads its text.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON, or not an object; the message names the file.
    """
    try:
        data = loads(Path(path).read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:  # nested too deep, bad UTF-8, bad JSON
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def read_versioned(
    path: str | os.PathLike[str], format: str, version: int, remedy: str
) -> dict[str, Any]:
    """The object in a JSON file of ours, without its "format" and "version".

    Args:
        path: The file.
        format: The "format" it must have.
        version: The "version" it must have.
        remedy: What to do with a file of another version, besides updating bytemill.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not a JSON object, or of another format or version; the message names
            the file.
    """
    fields = read_json_object(path)
    found = fields.pop("format", None)
    if found != format:
        raise ValueError(
            f'{path}: "format" is {found!r}, not {format!r}: it is another kind of file, or was '
            "changed or damaged"
        )
    found = fields.pop("version", None)
    if found != version:
        raise ValueError(
            f"{path}: version {found!r} of the format; this bytemill reads version {version}: "
            f"update bytemill, or {remedy}"
        )
    return fields
