"""What the programs share: exit statuses, errors in one line, checks of output folders."""

from __future__ import annotations

import dis
import os
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from bytemill.cli.console import interrupts
from bytemill.cli.console.messages import in_flags
from bytemill.cli.console.streams import OutputClosed, tell
from bytemill.folder_lock import LOCK_NAME


class Status(IntEnum):
    """How a program ended. What was asked to be saved has been saved whenever it is DONE."""

    DONE = 0
    FAULT = 1
    BAD_INPUT = 2
    INTERRUPTED = 130


EPILOG = (
    f"Exit status: {Status.DONE:d} done; {Status.FAULT:d} a fault of the program (a traceback on "
    f"stderr); {Status.BAD_INPUT:d} bad input, a missing package or a full disk (one line on "
    f"stderr); {Status.INTERRUPTED:d} interrupted by Ctrl-C."
)

# Packages that may be missing. Those of the model stack come together.
_STACK = ("safetensors", "torch")
_SERVE = ("fastapi", "starlette", "uvicorn")
_CHAT = ("prompt_toolkit", "rich")
_ALONE = ("gguf", "matplotlib", "numpy", "pyarrow", "shtab", "tiktoken", "tokenizers", "zstandard")


def exit_status(
    run: Callable[[], int | None], interrupted: str | Callable[[], str], who: str = ""
) -> int:
    """Runs a program; what it raises is told on stderr and becomes an exit status.

    Args:
        run: The program; it may return an exit status, and None stands for DONE.
        interrupted: What Ctrl-C means for its output: "no tokenizer was written".
        who: What errors begin with where several processes tell theirs: "rank 1: ".
    """
    try:
        return run() or Status.DONE
    except OutputClosed:
        return Status.DONE
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or (
            isinstance(error, Exception) and interrupts.was_pressed()
        ):
            told = interrupted if isinstance(interrupted, str) else interrupted()
            tell(f"interrupted: {told}")
            return Status.INTERRUPTED
        if not isinstance(error, Exception):
            raise
        message = explained(error)
        if message is not None:
            tell(f"{who}error: {message}")
            return Status.BAD_INPUT
        traceback.print_exc()
        tell(f"This is a fault of bytemill: please report it, {reports()}.")
        return Status.FAULT


def explained(error: Exception) -> str | None:
    """One line on what was wrong with the input or the machine; None for a fault of the program."""
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        text = in_flags(text if error.filename is None else f"{error.filename}: {text}")
        # A path that is not there may be there from where the user meant to stand.
        path = Path(text.partition(": ")[0])
        is_lost = isinstance(error, FileNotFoundError) and not (path.is_absolute() or path.exists())
        return f"{text} (looked for in {Path.cwd()})" if is_lost else text
    if isinstance(error, ImportError):
        if error.name is None:  # raised by the library, with a remedy
            return in_flags(str(error))
        package = error.name.partition(".")[0]
        if not isinstance(error, ModuleNotFoundError):
            return None
        if package in _STACK:
            how = "pip install 'bytemill[lm]', or in a clone: make .venv/lm"
            return f"{package} is not installed: {how}"
        for extra, packages in (("serve", _SERVE), ("chat", _CHAT)):
            if package in packages:
                return f"{package} is not installed: pip install 'bytemill[lm,{extra}]'"
        return f"{package} is not installed: pip install {package}" if package in _ALONE else None
    if is_out_of_memory(error):
        told = " ".join(str(error).split())
        # Python's own has nothing to say: there is no memory for it.
        detail = f" ({told[:200]})" if told else ""
        return f"out of memory; ask for less at a time, or use fewer threads{detail}"
    if isinstance(error, ValueError) or (isinstance(error, TypeError) and _is_raised(error)):
        return in_flags(str(error))
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory, of the machine's or of an accelerator's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # What torch raises on a CPU, which has no class of its own.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _is_raised(error: Exception) -> bool:
    """Whether a `raise` of bytemill's made this error: a check, and neither Python at some
    operation nor another package that was given what it does not take."""
    at = error.__traceback__
    if at is None:
        return False
    while at.tb_next is not None:
        at = at.tb_next
    if not str(at.tb_frame.f_globals.get("__name__")).startswith("bytemill."):
        return False
    return dis.opname[at.tb_frame.f_code.co_code[at.tb_lasti]] == "RAISE_VARARGS"


def reports() -> str:
    """Where faults are reported."""
    from importlib import metadata

    try:
        urls = metadata.metadata("bytemill").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    for url in urls:
        label, _, address = url.partition(", ")
        if label.lower() in ("issues", "bug tracker", "repository", "source"):
            return f"with the lines above, at {address}"
    return "with the lines above, to those you have it from"


def check_out(out: Path) -> None:
    """Raises unless `out` is a folder that can be written to, or can become one."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: it exists and is not a folder")
    check_writable(out)


def check_new(out: Path, *, overwrite: bool, kind: str, marks: tuple[str, ...]) -> None:
    """Raises if `out` holds anything that might be overwritten, unless that is wanted.

    Args:
        out: The folder.
        overwrite: Whether it is wanted.
        kind: What the program makes: "a tokenizer".
        marks: Files by which it is known.
    """
    check_out(out)
    held = {LOCK_NAME}  # by this process, or left by one that was killed
    if overwrite or not out.exists() or not {path.name for path in out.iterdir()} - held:
        return
    what = kind if any((out / mark).exists() for mark in marks) else "something else"
    raise ValueError(
        f"--out {out}: the folder holds {what} already; name another, or add --overwrite"
    )


def check_writable(folder: Path) -> None:
    """PermissionError if `folder`, or what is there of its path, may not be written to."""
    there = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not os.access(there, os.W_OK):
        raise PermissionError(13, "no permission to write here", str(there))
