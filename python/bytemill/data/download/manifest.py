"""What a folder of downloaded files holds, in `download.json`: sizes, checksums, the validation."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from bytemill.data.inputs import RECORD
from bytemill.files import read_versioned, write_bytes

MANIFEST_NAME: Final = RECORD
_FORMAT, _VERSION = "bytemill-download", 1
_PIECE: Final = 1 << 20
_REMEDY: Final = "fetch the files into another folder"


@dataclass(frozen=True)
class KnownFile:
    """A file as it was when it came, and has to be."""

    size: int
    """Bytes."""
    sha256: str


@dataclass
class DownloadManifest:
    """The record of a folder. A file is in it before it gets its name in the folder."""

    source: str
    """What it came from, as it was named."""
    revision: str | None
    """The commit of a repository, so that all files are of one state of it."""
    validation: str | None
    """The one file to validate on: it is never trained on, whatever else was fetched."""
    files: dict[str, KnownFile] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes it, in one step."""
        files = {
            name: {"size": file.size, "sha256": file.sha256}
            for name, file in sorted(self.files.items())
        }
        data = {
            "format": _FORMAT,
            "version": _VERSION,
            "source": self.source,
            "revision": self.revision,
            "validation": self.validation,
            "files": files,
        }
        write_bytes(folder / MANIFEST_NAME, (json.dumps(data, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> DownloadManifest | None:
        """The folder's, or None if it has none.

        Raises:
            ValueError: It is damaged; the message names it.
        """
        path = Path(folder, MANIFEST_NAME)
        if not path.is_file():
            return None
        data = read_versioned(path, _FORMAT, _VERSION, _REMEDY)
        try:
            source, files = _text(data["source"]), {}
            revision, validation = _optional(data["revision"]), _optional(data["validation"])
            for name, entry in data["files"].items():
                check_name(name)
                size, sha256 = entry["size"], entry["sha256"]
                if type(size) is not int or size < 0 or not is_sha256(sha256):
                    raise ValueError(f"{name}: size {size!r}, sha256 {sha256!r}")
                files[name] = KnownFile(size, sha256)
            if validation is not None:
                check_name(validation)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: it was changed or damaged ({error}); {_REMEDY}") from None
        return cls(source, revision, validation, files)

    def check_sizes(self, folder: str | os.PathLike[str]) -> None:
        """ValueError if a file of the record is missing, or has another size."""
        for name, file in self.files.items():
            path = Path(folder, name)
            if not path.is_file():
                raise ValueError(f"{path}: {MANIFEST_NAME} lists it, but it is missing; {AGAIN}")
            if (size := path.stat().st_size) != file.size:
                raise ValueError(
                    f"{path}: it has {size:,} bytes, and had {file.size:,} when it was fetched: it "
                    f"was truncated or changed; remove it, and {AGAIN}"
                )


AGAIN: Final = "run bytemill download once more"


def check_name(name: str) -> None:
    """ValueError unless `name` is a path that stays inside of a folder, on any system."""
    path = PurePosixPath(name)
    is_inside = name and not path.is_absolute() and ".." not in path.parts
    if not is_inside or re.search(r'[\\:*?"<>|\x00-\x1f]', name) or str(path) != name:
        raise ValueError(f"{name!r}: it is not a plain path inside of a folder")
    if path.parts[0] == MANIFEST_NAME:
        raise ValueError(f"{name!r}: this name is taken for the record of the files")


def is_sha256(text: object) -> bool:
    """Whether it is one, in hexadecimal digits."""
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def read_checksums(path: str | os.PathLike[str]) -> dict[str, str]:
    """Checksums by name, of a file as sha256sum writes it.

    Raises:
        OSError: It cannot be read.
        ValueError: A line is not one of a checksum and a name.
    """
    found = {}
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            parts = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line.strip())
            if parts is None:
                raise ValueError(f"{path}:{number}: not a SHA-256 and a name: {line[:80]!r}")
            found[parts[2].removeprefix("./")] = parts[1].lower()
    return found


def validation_files(files: Iterable[Path]) -> list[Path]:
    """Those that records of downloads, in the folders that the files are in or up to two above
    them, pin for validation, if they are there."""
    found = []
    for folder in sorted({parent for file in files for parent in file.parents[:3]}):
        manifest = DownloadManifest.load(folder)
        if manifest is not None and manifest.validation is not None:
            found.append(folder / manifest.validation)
    return [file for file in found if file.is_file()]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)
