"""One input file -> chunks of bytes, or documents; compressed or not, in bounded memory."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from bytemill.data import zstd
from bytemill.data.inputs import InputFile
from bytemill.data.zstd import CHUNK

if TYPE_CHECKING:
    import pyarrow.parquet

_PARQUET_BUFFER = 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")

OnPosition = Callable[[int], None]
"""Called with the position reached in the file, in bytes on disk."""


def _ignore(position: int) -> None:
    pass


def check_packages(files: Iterable[InputFile]) -> None:
    """Imports what reading `files` needs. ImportError, with the pip command, if it is missing."""
    for file in files:
        if file.compression == "zstd":
            zstd.module(file.path)
        if file.format == "parquet":
            parquet_module(file)


def read_chunks(file: InputFile, on_position: OnPosition = _ignore) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in pieces of about 32 KiB.

    Raises:
        ValueError: The compressed file is truncated or corrupt.
        ImportError: It is a .zst file and zstandard is not installed.
    """
    with file.path.open("rb") as raw, _corruption_named(file):
        # What a failed download leaves; gzip would take it for an empty text.
        if file.compression and not raw.peek(1):
            raise EOFError("it is empty")
        if file.compression == "gzip":
            chunks = _gzip_chunks(raw)
        elif file.compression == "zstd":
            chunks = zstd.read(raw, file.path)
        else:
            chunks = _pieces(raw, CHUNK)
        for chunk in chunks:
            on_position(raw.tell() if raw.seekable() else 0)
            yield chunk


@contextmanager
def _corruption_named(file: InputFile) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise ValueError(f"{file.path}: the file is truncated ({error})") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file.path}: the file is corrupt ({error})") from error


def _pieces(raw: IO[bytes], size: int) -> Iterator[bytes]:
    while chunk := raw.read(size):
        yield chunk


def _gzip_chunks(raw: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
        yield from _pieces(cast("IO[bytes]", unpacked), CHUNK)


def read_lines(file: InputFile) -> Iterator[bytes]:
    r"""The lines of a file without their b"\n"; the last may lack one."""
    return _lines(read_chunks(file))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest = [others[-1]]
    if last := b"".join(rest):
        yield last


def read_jsonl(
    file: InputFile, text_column: str, errors: str, on_position: OnPosition = _ignore
) -> Iterator[str]:
    """The strings under `text_column`. Empty lines and null are passed over.

    Raises:
        ValueError: A line is not UTF-8, not a JSON object, or has no text in that column, or a text
            has the escape of a lone surrogate and `errors` is "strict"; the message names file and
            line.
    """
    return jsonl_texts(file, read_chunks(file, on_position), text_column, errors)


def jsonl_texts(
    file: InputFile, chunks: Iterable[bytes], text_column: str, errors: str, first_line: int = 1
) -> Iterator[str]:
    """As `read_jsonl`, from some bytes of the file; `first_line` is the number of their first."""
    for number, line in enumerate(_lines(chunks), first_line):
        where = f"{file.path}:{number}"
        # A byte order mark is not part of JSON; some programs write it all the same.
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line or line.isspace():
            continue
        text_line = decode(line, where, errors)
        try:
            record = json.loads(text_line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
        except (RecursionError, ValueError) as error:
            raise ValueError(f"{where}: not readable as JSON: {error}") from None
        if not isinstance(record, dict):
            raise ValueError(f"{where}: not a JSON object but {_short(record)}")
        if text_column not in record:
            names = ", ".join(map(repr, record)) or "none"
            raise ValueError(f"{where}: no column {text_column!r}; there are: {names}")
        text = record[text_column]
        if isinstance(text, str):
            # Only an escape can bring one in, as the line is UTF-8.
            yield _without_surrogates(text, where, errors) if "\\u" in text_line else text
        elif text is not None:
            raise ValueError(f"{where}: column {text_column!r} is not text but {_short(text)}")


def _without_surrogates(text: str, where: str, errors: str) -> str:
    """`text`, with U+FFFD for surrogates that are not a pair if `errors` is "replace"."""
    try:
        text.encode()  # a fifth of the time of a search
        return text
    except UnicodeEncodeError:
        pass
    found = _SURROGATE.search(text)
    if found is None:
        return text
    if errors == "replace":
        return _SURROGATE.sub("\ufffd", text)
    raise ValueError(
        f"{where}: the escape \\u{ord(found[0]):04x} is a lone surrogate, not a character; "
        'repair the input or pass errors="replace" to read such escapes as U+FFFD'
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def decode(data: bytes, where: str, errors: str) -> str:
    """UTF-8 to str; `where` says in the error message whose bytes they are."""
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise invalid_utf8(where, error.start) from None


def invalid_utf8(where: str, offset: int) -> ValueError:
    """The error for bytes that are not UTF-8, worded as the Rust core words it."""
    return ValueError(
        f"{where}: invalid UTF-8 at byte {offset}; "
        'repair the input or pass errors="replace" to read such bytes as U+FFFD'
    )


def parquet_module(file: InputFile) -> Any:
    """pyarrow's; ImportError, with the pip command, if there is none to read `file` with."""
    try:
        import pyarrow.parquet

        return pyarrow.parquet
    except ImportError:
        raise ImportError(f"reading {file.path} needs pyarrow: pip install pyarrow") from None


def read_parquet(
    file: InputFile, text_column: str, errors: str, on_position: OnPosition = _ignore
) -> Iterator[str]:
    """The strings of one column, a few hundred rows at a time. Nulls are passed over.

    Raises:
        ValueError: The file is not a parquet file, or has no such column of strings or UTF-8 bytes.
        ImportError: pyarrow is not installed.
    """
    parquet = parquet_module(file)
    import pyarrow

    with _seekable(file) as source:
        try:
            # One column is wanted, in turn: no read-ahead of whole row groups, no further threads.
            reader = parquet.ParquetFile(source, pre_buffer=False, buffer_size=_PARQUET_BUFFER)
            check_column(file, reader.schema_arrow, text_column)
            rows = 0
            batches = reader.iter_batches(256, columns=[text_column], use_threads=False)
            for batch in batches:
                texts = column_bytes(batch.column(0))
                for row, text in enumerate(texts, rows):
                    if text is not None:
                        yield decode(text, f"{file.path}, row {row}", errors)
                rows += len(texts)
                on_position(file.size * rows // max(reader.metadata.num_rows, 1))
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{file.path}: not readable as parquet ({error})") from error


def column_bytes(column: Any) -> list[bytes | None]:
    """The texts of a column, as bytes: pyarrow itself knows no errors="replace"."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    texts: list[bytes | None] = column.cast(pyarrow.large_binary()).to_pylist()
    return texts


def check_column(file: InputFile, schema: pyarrow.Schema, name: str) -> None:
    """ValueError unless a parquet file has one column `name`, of strings or of their bytes."""
    if schema.names.count(name) != 1:
        names = ", ".join(map(repr, schema.names)) or "none"
        raise ValueError(f"{file.path}: no single column {name!r}; there are: {names}")
    kind = schema.field(name).type
    if not is_text(kind):
        raise ValueError(f"{file.path}: column {name!r} holds {kind}, not strings")


def is_text(kind: pyarrow.DataType) -> bool:
    """Whether a column of this type holds strings, or their bytes."""
    import pyarrow

    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    checks = ("is_string", "is_large_string", "is_string_view", "is_binary", "is_large_binary")
    return any(getattr(pyarrow.types, check, _never)(kind) for check in checks)


def _never(kind: object) -> bool:
    """Stands in for a check that an older pyarrow does not have."""
    return False


@contextmanager
def _seekable(file: InputFile) -> Iterator[IO[bytes]]:
    """The file; unpacked first, into a temporary file, if it is compressed around parquet's own."""
    if file.compression is None:
        with file.path.open("rb") as raw:
            yield raw
    else:
        import tempfile  # here, because it costs more to import than all of this module

        with tempfile.TemporaryFile() as unpacked:
            for chunk in read_chunks(file):
                unpacked.write(chunk)
            unpacked.seek(0)
            yield unpacked
