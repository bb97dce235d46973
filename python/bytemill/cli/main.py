"""`bytemill COMMAND`: every program through one door.

The door gives all of them the same manners: errors in one line and in the words of the command
line, the exit statuses of `bytemill.cli.command`, an answer to Ctrl-C, output that may break.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from contextvars import copy_context
from pathlib import Path
from typing import Any

import bytemill
from bytemill.cli.command import EPILOG, Status, exit_status
from bytemill.cli.console import interrupts, messages
from bytemill.cli.console.parser import Parser, did_you_mean
from bytemill.cli.console.programs import PROGRAMS, parsers
from bytemill.cli.console.streams import Guarded, guarded, is_closed, tell

__all__ = ["main", "parsers", "run"]


def main(argv: Sequence[str] | None = None, prog: str = "bytemill") -> int:
    """Runs `bytemill` with the words after its name; returns the exit status."""
    _have_stderr()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in PROGRAMS:
        return run(words[0], words[1:], f"{prog} {words[0]}")
    with guarded(stops=False), interrupts.answered():
        return exit_status(lambda: _without_command(words, prog), "nothing was done")


def run(name: str, argv: Sequence[str], prog: str) -> int:
    """Runs a program, which its help calls `prog`; returns the exit status."""
    _have_stderr()
    program = PROGRAMS[name]

    def work() -> int:
        parser = Parser(prog, program.declared())
        interrupts.check()
        parser.check(argv)
        messages.speak_as(parser)
        run_program = program.main()
        interrupts.check()
        status = run_program(argv)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk can still be told
        return status

    with guarded(stops=not program.saves) as out, interrupts.answered():
        try:
            # What messages call things is this program's alone, and forgotten when it ends.
            status = copy_context().run(exit_status, work, "nothing was done")
        except SystemExit as end:  # argparse's way to end after --help and errors
            return _after_help(end)
        failure = out and out.failure
        if failure and program.saves and not is_closed(failure):
            lost = "what was printed there is lost, what was saved is not"
            tell(f"note: stdout: {failure.strerror}; {lost}")
        return status


def _after_help(end: SystemExit) -> int:
    """The exit status after argparse has ended the program; help that is lost is an error."""

    def work() -> int:
        if isinstance(sys.stdout, Guarded):
            sys.stdout.flush()
            failure = sys.stdout.failure
            if failure and not is_closed(failure):
                raise OSError(failure.errno, failure.strerror, "stdout")
        return int(end.code or 0)

    return exit_status(work, "the help is not complete")


def _have_stderr() -> None:
    """A closed stderr (`2>&-`) is None in Python: what is written there goes nowhere then."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _without_command(words: Sequence[str], prog: str) -> int:
    """Help, the version, and mistakes."""
    parser = Parser(prog, _declared())
    if not words:
        parser.print_help(sys.stderr)
        return Status.BAD_INPUT
    try:
        if words[0].startswith("-"):
            parser.check(words[:1])
        parser.error(f"{words[0]}: there is no such command{did_you_mean(words[0], PROGRAMS)}")
    except SystemExit as end:
        return _after_help(end)


class _Version(argparse.Action):
    """--version; the version is looked up only for it, since that takes longer than all else."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Prints it and ends the program."""
        print(f"bytemill {bytemill.__version__}")
        parser.exit()


def _declared() -> argparse.ArgumentParser:
    """`bytemill` itself; the subcommands' own flags are not read for it."""
    width = max(map(len, PROGRAMS))
    listed = "\n".join(f"  {name:<{width}}  {each.summary}" for name, each in PROGRAMS.items())
    end = textwrap.fill(f"COMMAND --help lists a command's flags. {EPILOG}", 78)
    result = argparse.ArgumentParser(
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description="Byte-level BPE tokenizers, and language models trained on their tokens.",
        epilog=f"commands:\n{listed}\n\n* needs the model stack, the extra `lm`\n\n{end}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    return result
