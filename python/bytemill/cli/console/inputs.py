"""The flags that name text, and `-`: text that comes on stdin, in the form that --format says."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bytemill.cli.console import messages
from bytemill.data.inputs import COMPRESSIONS, FORMATS

# A kind of file -> its own extension: of several the first.
_OWN: dict[str, str] = {}
for _extension, _kind in FORMATS.items():
    _OWN.setdefault(_kind, _extension)
# What --format calls a form -> the file name's end that the readers know it by.
ENDS = {
    kind + compression: extension + compression
    for kind, extension in _OWN.items()
    for compression in ("", *COMPRESSIONS)
}
_FILES = (
    f"files, folders or globs: {', '.join(_OWN.values())}, each also {' or '.join(COMPRESSIONS)}; "
    "a file of another extension is read as plain text; - is stdin"
)


def add_input(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """--input."""
    parser.add_argument(
        "--input",
        nargs="+",
        action="extend",
        required=required,
        metavar="PATH",
        help=_FILES,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """--format, --text-column, --errors."""
    add = parser.add_argument
    add(
        "--format",
        choices=tuple(ENDS),
        metavar="FORM",
        help=f"what stdin holds, where it is an input: {', '.join(ENDS)} (default: text)",
    )
    add(
        "--text-column",
        default="text",
        metavar="NAME",
        help="where the text is in .jsonl (the key) and .parquet (default: %(default)s)",
    )
    add(
        "--errors",
        choices=("strict", "replace"),
        default="strict",
        help="invalid UTF-8: fail, or read U+FFFD (default: %(default)s)",
    )


@contextlib.contextmanager
def named(paths: Sequence[str], form: str | None) -> Iterator[list[str]]:
    """`paths` with, for `-`, a path from which what comes on stdin is read.

    On Linux text and records are read as they come. Parquet is read from its end, and so written to
    a temporary file first, as is everything on other systems.

    Raises:
        ValueError: `form` is given without `-`, or stdin is closed.
        OSError: There is no room for a temporary file.
    """
    if "-" not in paths:
        if form is not None:
            raise ValueError(f"--format {form}: it says what stdin holds; add - to the inputs")
        yield list(paths)
        return
    if sys.stdin is None:
        raise ValueError("-: stdin is closed")
    form = form or "text"
    device = Path("/dev/stdin")
    as_it_comes = sys.platform == "linux" and not form.startswith("parquet") and device.exists()
    if sys.stdin.isatty():
        print("reading from the terminal; Ctrl-D ends the text", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bytemill-") as folder:
        path = Path(folder, "stdin" + ENDS[form])
        if as_it_comes and form == "text":
            path = device
        elif as_it_comes:
            path.symlink_to(device)
        else:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        messages.call(str(path), "stdin")
        yield [str(path) if name == "-" else name for name in paths]


def read() -> bytes:
    """All of stdin; ValueError if it is closed."""
    if sys.stdin is None:
        raise ValueError("-: stdin is closed")
    return sys.stdin.buffer.read()
