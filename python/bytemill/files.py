"""Files that are either whole or absent: written beside their place, then renamed over it. And
JSON objects in files."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of `path` when the block ends well.

    Readers see the old file or the new one, never a part; when the block raises, `path` is as it
    was and nothing is left beside it. The data is flushed to disk before the rename.

    Raises:
        OSError: If the folder cannot be written to.
    """
    target = Path(path)
    # Not tempfile: its files are private to the user, while these should follow the umask.
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path`, replacing what was there in one step; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON, or no object; the message names the file.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:  # nested too deep, bad UTF-8, bad JSON
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data
