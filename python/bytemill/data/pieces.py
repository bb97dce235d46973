"""Documents in pieces that have a place in their file, so that reading can begin at any of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from bytemill.data.documents import iter_documents
from bytemill.data.inputs import InputFile
from bytemill.data.readers import check_column, column_bytes, decode, parquet_module

_DOCUMENTS: Final = 1024
_CHARACTERS: Final = 1 << 22
"""Of a piece, about, where the file does not say where to cut."""
_MOST_BYTES: Final = 1 << 26
"""Of a row group that is read at once: several are, at the same time."""


class Piece(NamedTuple):
    """Documents that lie side by side in a file."""

    group: int
    """The row group of a parquet file; 0 for all others."""
    document: int
    """The number in its group of the first document."""
    read: Callable[[], list[str | None]]
    """The documents; "" and None hold a place but are none. May be called in any thread."""


def read_pieces(
    file: InputFile,
    text_column: str = "text",
    errors: str = "strict",
    *,
    separators: Sequence[str] = (),
    group: int = 0,
    document: int = 0,
) -> Iterator[Piece]:
    """The documents of a file from a place on, in order.

    Only parquet can be begun in the middle; of other files what is before is read and passed over.

    Args:
        file: What to read; see `bytemill.data.iter_documents` for what its documents are.
        text_column: The key (.jsonl) or column (.parquet) that holds the text.
        errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads U+FFFD.
        separators: Strings that separate the documents of a plain text file.
        group: The row group to begin with.
        document: The number in it of the first document.

    Raises:
        ImportError: Reading it needs a package that is not installed.
        ValueError: It is truncated, corrupt, not UTF-8, or lacks the column; or there is no such
            row group.
    """
    if file.format == "parquet" and file.compression is None:
        yield from _row_groups(file, text_column, errors, group, document)
        return
    if group:
        raise ValueError(f"{file.path}: it has no row group {group}: it was changed")
    marks = separators if file.format == "text" else ()
    documents = iter_documents(file.path, text_column, errors, special_tokens=marks)
    for _ in range(document):
        if next(documents, None) is None:
            raise ValueError(f"{file.path}: it has fewer than {document} documents: it was changed")
    held: list[str | None] = []
    size = 0
    for text in documents:
        held.append(text)
        size += len(text)
        if len(held) == _DOCUMENTS or size >= _CHARACTERS:
            yield Piece(0, document, _already(held))
            document += len(held)
            held, size = [], 0
    if held:
        yield Piece(0, document, _already(held))


def _already(texts: list[str | None]) -> Callable[[], list[str | None]]:
    return lambda: texts


def _row_groups(
    file: InputFile, text_column: str, errors: str, group: int, document: int
) -> Iterator[Piece]:
    parquet = parquet_module(file)
    import pyarrow

    try:
        with file.path.open("rb") as raw, parquet.ParquetFile(raw) as reader:
            metadata, opened = reader.metadata, _status(raw)
            check_column(file, reader.schema_arrow, text_column)
            if group and group >= metadata.num_row_groups:
                raise ValueError(f"{file.path}: it has no row group {group}: it was changed")
            for at in range(group, metadata.num_row_groups):
                first = document if at == group else 0
                about = metadata.row_group(at)
                if first > about.num_rows:
                    raise ValueError(
                        f"{file.path}: row group {at} has {about.num_rows} rows, fewer than "
                        f"{first}: it was changed"
                    )
                if about.total_byte_size <= _MOST_BYTES:
                    yield Piece(
                        at, first, _Group(file, opened, metadata, at, first, text_column, errors)
                    )
                    continue
                rows = 0
                for batch in reader.iter_batches(
                    _DOCUMENTS, row_groups=[at], columns=[text_column], use_threads=False
                ):
                    skipped = min(max(first - rows, 0), batch.num_rows)
                    texts = column_bytes(batch.column(0))[skipped:]
                    where = rows + skipped
                    if texts:
                        yield Piece(at, where, _already(_decoded(file, texts, at, where, errors)))
                    rows += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file.path}: not readable as parquet ({error})") from error


_Status: TypeAlias = tuple[int, ...]


def _status(raw: BinaryIO) -> _Status:
    """By which a file that was replaced or written to is told from what it was."""
    status = os.fstat(raw.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Group:
    """Reads one row group, in whatever thread calls it."""

    def __init__(
        self,
        file: InputFile,
        opened: _Status,
        metadata: object,
        group: int,
        first: int,
        text_column: str,
        errors: str,
    ) -> None:
        self._file, self._opened, self._metadata, self._group = file, opened, metadata, group
        self._first, self._text_column, self._errors = first, text_column, errors

    def __call__(self) -> list[str | None]:
        import pyarrow

        file = self._file
        try:
            with file.path.open("rb") as raw:
                if _status(raw) != self._opened:
                    raise ValueError(f"{file.path}: it was changed while it was read")
                reader = parquet_module(file).ParquetFile(raw, metadata=self._metadata)
                table = reader.read_row_group(
                    self._group, columns=[self._text_column], use_threads=False
                )
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                f"{file.path}, row group {self._group}: not readable as parquet ({error})"
            ) from error
        texts = column_bytes(table.column(0).combine_chunks())[self._first :]
        return _decoded(file, texts, self._group, self._first, self._errors)


def _decoded(
    file: InputFile, texts: list[bytes | None], group: int, first: int, errors: str
) -> list[str | None]:
    where = f"{file.path}, row group {group}, row "
    return [
        None if text is None else decode(text, f"{where}{row}", errors)
        for row, text in enumerate(texts, first)
    ]
