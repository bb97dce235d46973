"""Corpora, and their documents, read lazily, for libraries without a file reader."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SEPARATOR = "<|endoftext|>"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """Files taken as one text."""

    label: str
    paths: list[str]

    @property
    def n_bytes(self) -> int:
        """Size on disk."""
        return sum(Path(path).stat().st_size for path in self.paths)


def check_files(parser: argparse.ArgumentParser, paths: Iterable[Path]) -> None:
    """Ends the program with the parser's error where `--corpus` names what cannot be read."""
    for path in paths:
        if not path.is_file():
            parser.error(f"--corpus: {path} is not a file")
        if path.suffix in (".gz", ".zst"):
            parser.error(f"--corpus: {path} is compressed; unpack it, not all libraries can")


def corpora_of(paths: Iterable[Path], together: bool = True) -> list[Corpus]:
    """Each file as a corpus and, if there are several and it is wanted, all `together`."""
    corpora = [Corpus(path.name, [str(path.resolve())]) for path in paths]
    if together and len(corpora) > 1:
        corpora.append(Corpus("together", [corpus.paths[0] for corpus in corpora]))
    return corpora


def _pieces(path: str, separator: bytes) -> Iterator[bytes]:
    """The byte strings between separators, holding one document and one chunk at a time."""
    held = bytearray()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            # A separator may lie across two chunks, but none ends before `searched`.
            searched = max(0, len(held) - len(separator) + 1)
            held += chunk
            start = 0
            while (end := held.find(separator, max(start, searched))) >= 0:
                yield bytes(held[start:end])
                start = end + len(separator)
            del held[:start]
    yield bytes(held)


def documents(paths: Iterable[str], separator: str = SEPARATOR, times: int = 1) -> Iterator[str]:
    """The documents of the files, `times` over; empty ones are left out.

    Raises UnicodeDecodeError for a document that is not UTF-8.
    """
    paths = list(paths)
    for _ in range(times):
        for path in paths:
            for piece in _pieces(path, separator.encode()):
                if piece:
                    yield piece.decode()


def write_share(path: str, out: Path, of: int, separator: str = SEPARATOR) -> int:
    """Writes one part in `of` of a file, whole documents taken all along it; returns its bytes."""
    seen = written = 0
    with out.open("wb") as file:
        for text in documents([path], separator):
            piece = ((separator if seen else "") + text).encode()
            seen += len(piece)
            # Half a document too much is no worse than half a document too little.
            if (written + len(piece) / 2) * of <= seen:
                written += file.write(piece if written else text.encode())
    return written
