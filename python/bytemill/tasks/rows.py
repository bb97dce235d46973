"""Published data sets as rows: parquet or JSON lines in a folder."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

StrPath = str | os.PathLike[str]
_PIECE: Final = 1 << 20


def rows(folder: StrPath, patterns: Sequence[str], how_to_get: str) -> Rows:
    """The rows of the files in a folder that match the first pattern which any file matches.

    Args:
        folder: Where the files are.
        patterns: Globs relative to the folder; files are read in the order of their names.
        how_to_get: What the error says where there is none.

    Raises:
        FileNotFoundError: No file matches any pattern.
        ValueError: A file is not what its name says.
        ImportError: A file is parquet, and pyarrow is not installed.
    """
    for pattern in patterns:
        files = sorted(Path(folder).glob(pattern))
        if files:
            return Rows(files)
    raise FileNotFoundError(
        f"{Path(folder)}: there is no {' or '.join(patterns)} in it; {how_to_get}"
    )


class Rows:
    """Rows of parquet or JSON lines files (or these in gzip), each a dict; parquet stays packed in
    columns."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self._tables: list[Any] = []
        self._ends: list[int] = []
        n = 0
        for file in files:
            table = _parquet(file) if file.suffix == ".parquet" else _json_lines(file)
            self._tables.append(table)
            n += len(table)
            self._ends.append(n)

    @cached_property
    def content(self) -> str:
        """A hash of the files' bytes.

        Raises:
            OSError: A file is not there any more.
        """
        digest = hashlib.sha256()
        for file in self.files:
            own = hashlib.sha256()
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE):
                    own.update(piece)
            digest.update(own.digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = 0
        for table, end in zip(self._tables, self._ends, strict=True):
            if index < end:
                row = table[index - start]
                return row if isinstance(row, dict) else row.as_py()
            start = end
        raise IndexError(index)

    def get(self, index: int, *columns: str) -> list[Any]:
        """Values of a row.

        Raises:
            ValueError: A column is not there; the message names file and row.
        """
        row = self[index]
        for column in columns:
            if column not in row:
                there = ", ".join(map(repr, row)) or "none"
                raise ValueError(
                    f"{self.files[0]}, row {index}: no column {column!r}; there are: {there}"
                )
        return [row[column] for column in columns]

    def texts(self, index: int, *columns: str) -> list[str]:
        """Values of a row that are text.

        Raises:
            ValueError: A column is not there, or is not text; the message names file and row.
        """
        values = self.get(index, *columns)
        for column, value in zip(columns, values, strict=True):
            if not isinstance(value, str):
                raise ValueError(
                    f"{self.files[0]}, row {index}: {column!r} is a {type(value).__name__}, not "
                    "text"
                )
        return values


def _parquet(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            f"reading {file} needs pyarrow: pip install 'bytemill[parquet]'"
        ) from None
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file}: not readable as parquet ({error})") from error
    return table.to_struct_array()


def _json_lines(file: Path) -> list[dict[str, Any]]:
    found = []
    try:
        packed = file.read_bytes()
        text = (gzip.decompress(packed) if file.suffix == ".gz" else packed).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: invalid UTF-8 at byte {error.start}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file}: not readable as gzip ({error}); get it again") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{file}:{number}: not a JSON object")
        found.append(row)
    return found
