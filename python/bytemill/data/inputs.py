"""What a user names -> the files to read, checked before anything is read."""

from __future__ import annotations

import errno
import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from bytemill.data import sniff

Paths: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
"""A path, a folder or a glob, or several of them."""

Format: TypeAlias = Literal["text", "jsonl", "parquet"]
Compression: TypeAlias = Literal["gzip", "zstd"]

FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "jsonl",  # as C4 and others name them; in a folder only if their first line is one
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
RECORD = "download.json"
"""What `bytemill.data.download` keeps beside the files it fetches; it is not one of them."""
# Read as text, these would only fail later, with a message about UTF-8.
_ARCHIVES = {".7z", ".br", ".bz2", ".lz4", ".lzma", ".rar", ".tar", ".tgz", ".xz", ".zip"}
_KNOWN = (
    ".txt, .jsonl and .parquet (and .ndjson, .jsonlines and .json, which are read as .jsonl), each "
    "also followed by .gz or .zst"
)
_SHOWN = 5


class InputFile(NamedTuple):
    """A file to read, and how."""

    path: Path
    format: Format
    compression: Compression | None

    @property
    def shown_path(self) -> str:
        """The path as messages and JSON files hold it: "?" for what is not UTF-8 in a name."""
        return str(self.path).encode("utf-8", "replace").decode()

    @property
    def size(self) -> int:
        """Bytes on disk; 0 for a pipe."""
        return self.path.stat().st_size if self.path.is_file() else 0


def expand_inputs(paths: Paths) -> list[InputFile]:
    """The files that `paths` stands for, sorted by path, each once.

    A folder stands for all files below it that have a known extension (.txt, .jsonl, .ndjson,
    .jsonlines, .json with an object for its first line, or .parquet, each also followed by .gz or
    .zst). Hidden files and folders are passed over; of others that are left out a UserWarning gives
    the number and examples. Links to folders are followed, each folder once. A glob (`*`, `?`,
    `[...]`, `**` for any depth) stands for all files that match it. A file that is named, or
    matches a glob, and has another extension is read as plain text: `corpus.c`, `README.md`.

    The order matters only where `max_chars` ends the reading.

    Raises:
        FileNotFoundError: A path does not exist, a link leads nowhere (it is named, and where it
            leads), or a folder or a glob holds no file to read.
        PermissionError: A file or folder may not be read.
        ValueError: `paths` is empty, or a file is an archive of an unknown kind.
        TypeError: `paths` is not made of str or path-like objects.
    """
    found: dict[Path, InputFile] = {}
    names = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(_iterable(paths))
    if not names:
        raise ValueError("no input: the list of paths is empty")
    for name in names:
        for path in _expand(name):
            file = _input_file(path)
            found.setdefault(path.resolve(), file)
    return sorted(found.values(), key=lambda file: file.path)


def _iterable(paths: object) -> Iterable[object]:
    if isinstance(paths, Iterable):
        return paths
    raise TypeError(f"a path must be a str or a path-like object, not {paths!r}")


def _expand(name: object) -> Iterator[Path]:
    if not isinstance(name, (str, os.PathLike)) or isinstance(os.fspath(name), bytes):
        raise TypeError(f"a path must be a str or a path-like object, not {name!r}")
    text = os.fspath(name)
    if not text:
        raise ValueError("a path is empty ('')")
    path = Path(text)
    if path.is_dir():
        yield from _in_folder(path)
    elif path.exists():
        yield path
    elif any(char in text for char in "*?["):
        matches = [Path(match) for match in glob.glob(text, recursive=True)]  # noqa: PTH207
        files = [match for match in matches if not match.is_dir()]
        if not files:
            raise FileNotFoundError(errno.ENOENT, "no file matches this glob", text)
        yield from files
    else:
        _check_link(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)


def _in_folder(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    empty = True
    left_out: list[str] = []
    seen = {_identity(folder)}
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        visible = sorted(name for name in folders if not name.startswith("."))
        folders.clear()
        for name in visible:
            if (identity := _identity(Path(parent, name))) not in seen:
                seen.add(identity)
                folders.append(name)
        for name in sorted(files):
            if name.startswith(".") or name == RECORD:
                continue
            path = Path(parent, name)
            if _is_meant(path):
                empty = False
                yield path
            else:
                left_out.append(os.fspath(path.relative_to(folder)))
    if empty:
        message = f"no file in this folder has a known extension ({_KNOWN})"
        raise FileNotFoundError(errno.ENOENT, message, os.fspath(folder))
    if left_out:
        shown = ", ".join(left_out[:_SHOWN]) + ", ..." * (len(left_out) > _SHOWN)
        warnings.warn(
            f"{folder}: {len(left_out)} file(s) with other extensions than {_KNOWN} were left out: "
            f"{shown}; name them (or a glob) to have them read as plain text",
            UserWarning,
            stacklevel=2,
        )


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_meant(path: Path) -> bool:
    """Whether a folder stands for this file of its."""
    extension, compression = _split_extension(path.name)
    if extension == ".json" and path.is_file():
        # A line of its own, unlike most settings and lists, which are JSON too.
        return sniff.is_json_object(sniff.first_line(path, compression))
    return extension in FORMATS


def _check_link(path: Path) -> None:
    """FileNotFoundError if `path` is a link that leads nowhere."""
    if path.is_symlink() and not path.exists():
        target = os.fspath(path.readlink())
        message = f"the link leads to {target!r}, which does not exist (or back to itself)"
        raise FileNotFoundError(errno.ENOENT, message, os.fspath(path))


def _split_extension(name: str) -> tuple[str, Compression | None]:
    """The extension that tells the format, and the compression around it."""
    path = Path(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    return (path.with_suffix("") if compression else path).suffix, compression


def _input_file(path: Path) -> InputFile:
    _check_link(path)
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    extension, compression = _split_extension(path.name)
    if extension in _ARCHIVES:
        raise ValueError(f"{path}: cannot read {extension} files; known are plain text, {_KNOWN}")
    return InputFile(path, FORMATS.get(extension, "text"), compression)
