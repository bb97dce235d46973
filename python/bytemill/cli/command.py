"""What the programs share: exit statuses, errors in one line, checks of output folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

EPILOG = "Exit status: 0 done, 2 bad input (one line on stderr), 130 interrupted."


def exit_status(run: Callable[[], None], interrupted: str) -> int:
    """Runs a program; errors become a line on stderr, and the exit status that goes with them.

    Args:
        run: The program.
        interrupted: What Ctrl-C means for its output: "no tokenizer was written".
    """
    try:
        run()
    except KeyboardInterrupt:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except (ImportError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check_out(out: Path) -> None:
    """Raises unless `out` is a folder that can be written to, or can become one."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: it exists and is no folder")
    check_writable(out)


def check_writable(folder: Path) -> None:
    """PermissionError if `folder`, or what is there of its path, may not be written to."""
    there = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not os.access(there, os.W_OK):
        raise PermissionError(13, "no permission to write here", str(there))
