"""What workers do with a part: read it for the Rust core; errors name the place in
the whole file, though a worker knows only its own end of it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from bytemill.data.documents import decoded
from bytemill.data.on_ray import parts
from bytemill.data.on_ray.parts import Part, Segment
from bytemill.data.pieces import read_pieces
from bytemill.data.readers import (
    column_bytes,
    decode,
    is_text,
    jsonl_texts,
    parquet_module,
    read_chunks,
    read_jsonl,
    read_parquet,
)

_LINES: Final = (b"\n",)
_ROWS: Final = 256

Rows: TypeAlias = "tuple[int, int] | None"
"""The first row of a block and the one behind the last; None for all."""

Source: TypeAlias = tuple[str, str, Any]
"""As the Rust core's encoding takes one: kind, name for messages, content."""


class TextForm(NamedTuple):
    """How files and blocks hold text."""

    text_column: str = "text"
    """The key (.jsonl) or column (.parquet, dataset) that holds it."""
    errors: str = "strict"
    """For bytes that are not UTF-8; or "replace"."""
    marks: tuple[str, ...] = ()
    """Special tokens, which separate documents."""


class FilePart:
    """A part of files, opened anew whenever it is read."""

    def __init__(self, part: Part, form: TextForm) -> None:
        self._part, self._form = part, form
        self._marks = parts.separators(form.marks)

    def sources(self) -> Iterator[Source]:
        """As the Rust core takes it."""
        for segment in self._part:
            file = segment.file
            check_there(segment)
            if file.format != "text":
                yield "texts", file.shown_path, self._texts(segment)
            elif segment.is_whole and file.compression is None:
                yield "file", file.shown_path, str(file.path)
            elif segment.is_whole:
                yield "chunks", file.shown_path, read_chunks(file)
            else:
                start, end = parts.bounds(segment, self._marks)
                yield "range", file.shown_path, (str(file.path), start, end)

    @contextlib.contextmanager
    def placing_errors(self) -> Iterator[None]:
        """Turns a ValueError for bad text into one that names its place in the whole file."""
        try:
            yield
        except ValueError:
            for segment in self._part:
                if segment.start > 0:
                    self._read_again(segment)
            raise

    def _read_again(self, segment: Segment) -> None:
        file, column, errors = segment.file, self._form.text_column, self._form.errors
        if file.format == "text":
            start, end = parts.bounds(segment, self._marks)
            here = parts.chunks(file.path, start, end)
            texts: Iterator[object] = decoded(file, errors, here, start)
        elif file.format == "jsonl":
            start, end = parts.bounds(segment, _LINES)
            before = sum(chunk.count(b"\n") for chunk in parts.chunks(file.path, 0, start))
            here = parts.chunks(file.path, start, end)
            texts = jsonl_texts(file, here, column, errors, before + 1)
        else:
            return  # row groups have their numbers
        for _ in texts:
            pass

    def _texts(self, segment: Segment) -> Iterator[str]:
        file, column, errors = segment.file, self._form.text_column, self._form.errors
        if segment.is_whole:
            read = read_jsonl if file.format == "jsonl" else read_parquet
            return read(file, column, errors)
        if file.format == "jsonl":
            here = parts.chunks(file.path, *parts.bounds(segment, _LINES))
            return jsonl_texts(file, here, column, errors)
        return _row_groups(segment, column, errors)


def _row_groups(segment: Segment, text_column: str, errors: str) -> Iterator[str]:
    file = segment.file
    try:
        metadata = parquet_module(file).read_metadata(file.path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file.path}: not readable as parquet ({error})") from error
    groups = parts.row_groups(
        [_first_byte(metadata, i) for i in range(metadata.num_row_groups)], segment
    )
    if not groups:
        return
    for piece in read_pieces(file, text_column, errors, group=groups.start):
        if piece.group >= groups.stop:
            return
        yield from (text for text in piece.read() if text)


def _first_byte(metadata: Any, group: int) -> int:
    """Where a row group begins."""
    row_group = metadata.row_group(group)
    columns = [row_group.column(i) for i in range(row_group.num_columns)]
    pages = ((column.dictionary_page_offset, column.data_page_offset) for column in columns)
    return min((page for both in pages for page in both if page), default=0)


def check_there(segment: Segment) -> None:
    """Raises unless this machine has the file that the driver saw."""
    path = segment.file.path
    try:
        size = path.stat().st_size
    except OSError as error:
        raise type(error)(
            error.errno or errno.ENOENT,
            f"{error.strerror}: a Ray worker does not see this file; keep it on storage that all "
            "nodes mount under this path, or pass a ray.data.Dataset",
            str(path),
        ) from None
    if size != segment.size:
        raise ValueError(
            f"{path}: it has {size} bytes where a Ray worker looks, and {segment.size} where the "
            "driver does; keep one file on storage that all nodes mount under this path"
        )


class BlockPart:
    """Blocks of a `ray.data.Dataset`: rows with a column of text.

    Args:
        blocks: The blocks, in order, and which of their rows.
        name: For messages.
        form: As for files.
    """

    def __init__(self, blocks: Sequence[tuple[Any, Rows]], name: str, form: TextForm) -> None:
        self._name, self._errors = name, form.errors
        self._columns = [column(block, form.text_column, rows) for block, rows in blocks]

    def sources(self) -> Iterator[Source]:
        """As the Rust core takes it."""
        yield "texts", self._name, self._texts()

    @contextlib.contextmanager
    def placing_errors(self) -> Iterator[None]:
        """Rows are named by their numbers in the part."""
        yield

    def _texts(self) -> Iterator[str]:
        row = 0
        for chunk in (chunk for one in self._columns for chunk in one.chunks):
            for start in range(0, len(chunk), _ROWS):
                for text in column_bytes(chunk[start : start + _ROWS]):
                    if text is not None:
                        yield decode(text, f"{self._name}, row {row}", self._errors)
                    row += 1


def column(block: Any, name: str, rows: Rows = None) -> Any:
    """The column of text of a block of a dataset, as pyarrow's.

    Raises:
        ValueError: The block has no such column, or not of text.
    """
    import pyarrow
    from ray.data.block import BlockAccessor

    table = BlockAccessor.for_block(block).to_arrow()
    names = table.schema.names
    if names.count(name) != 1:
        raise no_column(name, names)
    found = table.column(name)
    if pyarrow.types.is_null(found.type):  # a block of nothing but nulls
        return pyarrow.chunked_array([], pyarrow.large_binary())
    if not is_text(found.type):
        raise ValueError(f"text_column={name!r}: it holds {found.type}, not strings")
    return found if rows is None else found[rows[0] : rows[1]]


def no_column(name: str, names: Sequence[str]) -> ValueError:
    """The error for a dataset without the column."""
    known = ", ".join(map(repr, names)) or "none"
    return ValueError(
        f"text_column={name!r}: the dataset has no single column of that name; there are: {known}"
    )
