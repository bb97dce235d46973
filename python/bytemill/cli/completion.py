"""Prints a script by which a shell completes commands, flags, their choices, and file names.

eval "$(bytemill completion bash)"
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.console.parser import actions, is_place
from bytemill.cli.console.programs import PROGRAMS

SHELLS = ("bash", "zsh", "fish")
_HOW = """Where to put it: bash, in ~/.bashrc: eval "$(bytemill completion bash)"; zsh, as a file
_bytemill in a folder of $fpath; fish: bytemill completion fish >
~/.config/fish/completions/bytemill.fish. Run it again after an update, and after installing
bytemill[lm]: without it the flags of the commands that need it are not known."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Print a script by which a shell completes commands, flags, choices and file "
        f"names. Needs shtab (pip install shtab), but only here. {_HOW}",
        epilog=EPILOG,
    )
    result.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the script; returns the exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: print(script(args.shell)), "the script is not complete")


def script(shell: str) -> str:
    """The script for a shell.

    Raises:
        ImportError: shtab is not installed.
    """
    shtab = importlib.import_module("shtab")
    text: str = shtab.complete(_whole(shtab, shell), shell=shell)
    return text


def _whole(shtab: Any, shell: str) -> argparse.ArgumentParser:
    """All command lines as one, with those that can be read in this installation."""
    result = argparse.ArgumentParser(prog="bytemill")
    result.add_argument("--version", action="store_true", help="show the version and exit")
    commands = result.add_subparsers()
    for name, program in PROGRAMS.items():
        try:
            declared = program.declared()
        except ModuleNotFoundError:
            commands.add_parser(name, help=program.summary)
            continue
        whole = commands.add_parser(name, help=program.summary, parents=[declared], add_help=False)
        for action in actions(whole):
            # In bash shtab would offer no flags after several values; bash itself offers files.
            if shell == "bash" and action.nargs == "+":
                continue
            if action.metavar == "DIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif is_place(action):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return result
