"""The first line of a file: is it JSON lines, whatever the file is called?"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bytemill.data import zstd

_MOST = 1 << 22


def first_line(path: Path, compression: str | None) -> bytes:
    """The first line that is not blank, or its beginning if it is longer than 4 MiB.

    b"" for a file that cannot be read: whoever reads it says why.
    """
    try:
        with path.open("rb") as raw:
            if compression == "zstd":
                return _first_line(zstd.read(raw, path))
            if compression == "gzip":
                with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                    return _first_line(iter(lambda: unpacked.read(zstd.CHUNK), b""))
            return _first_line(iter(lambda: raw.read(zstd.CHUNK), b""))
    except (OSError, EOFError, ValueError, ImportError, zlib.error):
        return b""


def is_json_object(line: bytes) -> bool:
    """Whether a line is a JSON object by itself."""
    return _object(line) is not None or (len(line) >= _MOST and _begins_object(line))


def holds_text(line: bytes, column: str) -> bool:
    """Whether a line is a JSON object with a text in `column`."""
    record = _object(line)
    if record is not None:
        return isinstance(record.get(column), str)
    key = re.escape(json.dumps(column).encode())
    found = re.search(key + rb'\s*:\s*"', line)
    return len(line) >= _MOST and _begins_object(line) and found is not None


def refusing_json(name: str, chunks: Iterable[bytes], column: str) -> Iterator[bytes]:
    """`chunks`, with the check of `refuse` before the first is handed on: for what is read once."""
    held = b""
    begun = False
    for chunk in chunks:
        if begun:
            yield chunk
            continue
        held += chunk
        if b"\n" in held.lstrip() or len(held) >= _MOST:
            refuse(name, _first_line([held]), column)
            begun = True
            yield held
    if not begun and held:
        refuse(name, _first_line([held]), column)
        yield held


def refuse(name: str, line: bytes, column: str) -> None:
    """ValueError if plain text begins with a line of JSON that holds a text."""
    if holds_text(line, column):
        raise ValueError(
            f"{name}: this is not plain text but JSON lines: its first line is an object with a "
            f"{column!r}; name it .jsonl to have those texts read (or pass the text itself, where "
            "the braces are meant)"
        )


def _first_line(chunks: Iterable[bytes]) -> bytes:
    held = b""
    for chunk in chunks:
        held = (held + chunk).lstrip(b"\xef\xbb\xbf \t\r\n")
        if b"\n" in held or len(held) >= _MOST:
            break
    return held.partition(b"\n")[0]


def _begins_object(line: bytes) -> bool:
    return re.match(rb'\{\s*"', line) is not None


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
