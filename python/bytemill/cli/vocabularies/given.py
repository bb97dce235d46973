"""The flag `--tokenizer`, which is the same for all programs: what it takes, and reading that."""

from __future__ import annotations

import argparse
from typing import Final

from bytemill import Tokenizer
from bytemill.formats import source

HELP: Final = (
    "a folder that tok-train has written, a published tokenizer.json or a folder with one, a "
    ".tiktoken file, or the name of an encoding of tiktoken"
)


def add_tokenizer(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--tokenizer.

    Args:
        parser: Gets it.
        default: What is taken where it is not given; None if it has to be.
    """
    parser.add_argument(
        "--tokenizer",
        required=default is None,
        metavar="TOKENIZER",
        help=HELP if default is None else f"{HELP} (default: {default})",
    )


def read(given: str) -> Tokenizer:
    """The tokenizer that a command line names.

    Raises:
        ImportError, OSError, ValueError: As `bytemill.formats.source.read`.
    """
    return Tokenizer.from_vocabulary(source.read(given))
