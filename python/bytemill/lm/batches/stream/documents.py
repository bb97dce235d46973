"""One endless sequence of documents, epoch after epoch, each with its place.

The order is that of the files, of their row groups, and of the documents in these. Files that come
behind the others later lengthen the sequence and change nothing before them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from bytemill.data.download.manifest import MANIFEST_NAME, DownloadManifest, digest_of
from bytemill.data.inputs import InputFile, Paths, expand_inputs
from bytemill.data.pieces import read_pieces
from bytemill.data.readers import check_packages

_ITEMS: Final = 1024
_END: Final = 4096


class Place(NamedTuple):
    """Where a document is."""

    epoch: int = 0
    file: int = 0
    """Its number; 0 where there are no files."""
    group: int = 0
    """The row group of a parquet file."""
    document: int = 0
    """Its number in the group."""

    @classmethod
    def of(cls, value: object) -> Place:
        """From JSON; ValueError if it is not one."""
        if (
            not isinstance(value, (list, tuple))
            or len(value) != len(cls._fields)
            or not all(type(number) is int and number >= 0 for number in value)
        ):
            raise ValueError(f"place={value!r}: it is not epoch, file, row group and document")
        return cls(*value)

    def after(self) -> Place:
        """The next place in the same group."""
        return self._replace(document=self.document + 1)


class Texts(NamedTuple):
    """Documents side by side, still to be read."""

    place: Place
    """Of the first."""
    read: Callable[[], list[str | None]]
    """In any thread."""
    digest: str
    """Of the file they are in."""


class Documents(Protocol):
    """Where the texts come from."""

    source: str
    """In words."""

    def pieces(self, place: Place, digests: Sequence[str]) -> Iterator[Texts]:
        """All from a place on, without end.

        Args:
            place: Of the first.
            digests: Of the files that were read before, in order: they must be the same.

        Raises:
            ValueError: A file is damaged, or another than before; there are no documents.
        """
        ...

    def identity(self, n_files: int) -> list[str]:
        """Names of the first files, by which another corpus is told from this one."""
        ...


class FileDocuments:
    """The documents of files, in the order of `bytemill.data.expand_inputs`.

    Args:
        paths: A path, a folder or a glob, or several.
        text_column: The key (.jsonl) or column (.parquet) that holds the text.
        errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads U+FFFD.
        separators: Strings that separate the documents of a plain text file.
        leave_out: Files that are not to be read: those of validation.

    Raises:
        FileNotFoundError, PermissionError: As `expand_inputs`.
        ImportError: A package is missing.
        ValueError: Files are missing of a download, or were truncated since.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        text_column: str = "text",
        errors: str = "strict",
        separators: Sequence[str] = (),
        leave_out: Iterable[Path] = (),
    ) -> None:
        found = expand_inputs(paths)
        out = {path.resolve() for path in leave_out}
        self.files: list[InputFile] = [file for file in found if file.path.resolve() not in out]
        self.source = str(found[0].path.parent if len(found) > 1 else found[0].path)
        if not self.files:
            raise ValueError(f"{self.source}: there is nothing to train on besides validation")
        check_packages(self.files)
        self._text_column, self._errors, self._separators = text_column, errors, list(separators)
        self._recorded = _recorded(self.files)

    def identity(self, n_files: int) -> list[str]:
        """The names of the first `n_files` files, without their folders."""
        return [file.path.name for file in self.files[:n_files]]

    def fingerprint(self) -> str:
        """A SHA-256 of the files' names, sizes and ends, where parquet has its table of contents.

        It tells other files from these without reading all of them, as `pieces` does.
        """
        whole = hashlib.sha256(f"{self._text_column} {self._errors} {self._separators}".encode())
        for file in self.files:
            size = file.size
            whole.update(f"{file.shown_path.rpartition(os.sep)[2]} {size} ".encode())
            with file.path.open("rb") as raw:
                raw.seek(max(size - _END, 0))
                whole.update(raw.read(_END))
        return whole.hexdigest()

    def pieces(self, place: Place, digests: Sequence[str]) -> Iterator[Texts]:
        """As `Documents` says."""
        known = dict(enumerate(digests))
        epoch, place = place.epoch, place._replace(epoch=0)
        if place.file >= len(self.files):
            raise ValueError(f"{self.source}: there is no file of number {place.file}")
        while True:
            is_whole, any_piece = place == Place(), False
            for at in range(place.file, len(self.files)):
                file = self.files[at]
                digest = self._digest(file, known.get(at))
                known[at] = digest
                for piece in read_pieces(
                    file,
                    self._text_column,
                    self._errors,
                    separators=self._separators,
                    group=place.group,
                    document=place.document,
                ):
                    any_piece = True
                    yield Texts(Place(epoch, at, piece.group, piece.document), piece.read, digest)
                place = Place()
            if is_whole and not any_piece:
                raise ValueError(f"{self.source}: there are no documents in it")
            epoch, place = epoch + 1, Place()

    def _digest(self, file: InputFile, known: str | None) -> str:
        """The file's checksum: read for it first, it is what is read next.

        Raises:
            ValueError: It is not what it was.
        """
        try:
            whole = digest_of(file.path)
        except OSError as error:
            raise ValueError(f"{file.path}: it cannot be read any more ({error})") from error
        recorded = self._recorded.get(file.path)
        if recorded is not None and whole != recorded:
            raise ValueError(
                f"{file.path}: its SHA-256 is not the one in {MANIFEST_NAME}: it was changed or "
                "damaged; remove it, and run bytemill download once more"
            )
        if known is not None and not whole.startswith(known):
            raise ValueError(
                f"{file.path}: it is not the file that was read before: it was changed; put the "
                "old one back, or begin a new run"
            )
        return whole[:16]


def _recorded(files: Iterable[InputFile]) -> dict[Path, str]:
    """Checksums of downloaded files, by their folders' records. ValueError if one is missing."""
    found = {}
    for folder in {parent for file in files for parent in list(file.path.parents)[:3]}:
        manifest = DownloadManifest.load(folder)
        if manifest is not None:
            manifest.check_sizes(folder)
            for name, known in manifest.files.items():
                found[folder / name] = known.sha256
    return found


class ItemDocuments:
    """The documents of an iterable of dicts (such as a streaming Hugging Face dataset), or of str.

    It is read in background threads, by one at a time. To go on from a place it is read from its
    beginning.

    Args:
        items: Gives the same items in the same order each time it is iterated over.
        text_column: The key that holds the text.
        source: What to call it in messages.
    """

    def __init__(
        self,
        items: Iterable[Mapping[str, Any] | str],
        *,
        text_column: str = "text",
        source: str = "items",
    ) -> None:
        self._items, self._text_column, self.source = items, text_column, source

    def identity(self, n_files: int) -> list[str]:
        """Nothing is known of it."""
        return [""] * n_files

    def pieces(self, place: Place, digests: Sequence[str]) -> Iterator[Texts]:
        """As `Documents` says."""
        epoch, first = place.epoch, place.document
        while True:
            number, held = 0, list[str | None]()
            for number, item in enumerate(self._items, 1):
                if number > first:
                    held.append(self._text(item, number - 1))
                if len(held) == _ITEMS:
                    yield _held(epoch, number - len(held), held)
                    held = []
            if held:
                yield _held(epoch, number - len(held), held)
            if number < max(first, 1):
                raise ValueError(
                    f"{self.source}: it gave {number} items, and {max(first, 1)} were to come: it "
                    "was changed, or cannot be iterated over again; give one whose __iter__ begins "
                    "anew each time"
                )
            epoch, first = epoch + 1, 0

    def _text(self, item: Mapping[str, Any] | str, number: int) -> str | None:
        if isinstance(item, Mapping):
            if self._text_column not in item:
                names = ", ".join(map(repr, item)) or "none"
                raise ValueError(
                    f"{self.source}: item {number} has no {self._text_column!r}; there are: {names}"
                )
            item = item[self._text_column]
        if item is not None and not isinstance(item, str):
            raise ValueError(
                f"{self.source}: the text of item {number} is not text but {type(item).__name__}"
            )
        return item


def _held(epoch: int, first: int, texts: list[str | None]) -> Texts:
    return Texts(Place(epoch, 0, 0, first), lambda: texts, "")
