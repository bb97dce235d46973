"""Tokenizers as programs write them, and the files they tell of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bytemill import Tokenizer
from bytemill.cli import formatting
from bytemill.files import read_json_object
from bytemill.formats.folder import CONFIG_NAME, write


def save(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """Writes a tokenizer to a folder that is locked; what was written.

    Raises:
        OSError: As `bytemill.formats.folder.save`.
    """
    write(tokenizer.vocabulary, folder)
    ranks = read_json_object(folder / CONFIG_NAME)["ranks_file"]
    return [folder / CONFIG_NAME, folder / ranks]


def told(files: Iterable[Path]) -> list[tuple[str, str]]:
    """Rows that say what was written, and how large it is."""
    sizes = [f"{path} ({formatting.megabytes(path.stat().st_size)})" for path in files]
    return formatting.labelled("written", sizes)
