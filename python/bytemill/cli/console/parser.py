"""Command lines: flags as a program declares them, errors in one line that suggest the nearest."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

# Metavars of options whose value names a place on disk.
PLACES = ("DIR", "FILE", "PATH", "RUN")


class Parser(argparse.ArgumentParser):
    """The command line that `declared` describes, called as `prog`.

    Flags must be written out. An error is one line, says where help is, and ends the program with
    status 2.
    """

    def __init__(self, prog: str, declared: argparse.ArgumentParser) -> None:
        super().__init__(
            prog=prog,
            usage=declared.usage,
            description=declared.description,
            epilog=declared.epilog,
            formatter_class=declared.formatter_class,
            parents=[declared],
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )

    def check(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parses `argv`; errors, --help and --version end the program (SystemExit)."""
        # First, since argparse speaks of missing flags before it speaks of mistyped ones.
        for word in argv:
            if word == "--":
                break
            flag = word.partition("=")[0]
            if flag.startswith("--") and " " not in flag and flag not in flags(self):
                self.error(f"{flag}: there is no such flag{did_you_mean(flag, flags(self))}")
        try:
            args, rest = self.parse_known_args(argv)
        except argparse.ArgumentError as error:
            self.error(self._explained(error))
        if rest:
            self.error(f"{rest[0]}: nothing is expected here")
        for action in actions(self):
            values = getattr(args, action.dest, None)
            if "" in (values if isinstance(values, list) else [values]) and is_place(action):
                self.error(f"{name_of(action)} '': it is empty; name a file or folder")
        return args

    def error(self, message: str) -> NoReturn:
        """Prints `message` in one line and ends the program."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")

    def _explained(self, error: argparse.ArgumentError) -> str:
        """argparse's message, with the nearest choice if a choice was mistyped."""
        name = error.argument_name
        if name is None:
            return error.message
        given = re.search(r"invalid choice: '([^']*)'", error.message)
        for action in actions(self):
            names = ("/".join(action.option_strings), action.metavar, action.dest)
            if given and action.choices and name in names:
                choices = [str(choice) for choice in action.choices]
                return (
                    f"{name} {given[1]}: it must be one of {', '.join(choices)}"
                    f"{did_you_mean(given[1], choices)}"
                )
        return f"{name}: {error.message}"


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """A parser's flags and positional arguments; argparse has no public name for them."""
    return list(parser._actions)


def flags(parser: argparse.ArgumentParser) -> list[str]:
    """All flags of a parser."""
    return [flag for action in actions(parser) for flag in action.option_strings]


def name_of(action: argparse.Action) -> str:
    """What a user calls an option."""
    return action.option_strings[-1] if action.option_strings else str(action.metavar)


def is_place(action: argparse.Action) -> bool:
    """Whether an option names a file or folder."""
    return action.metavar in PLACES or action.dest in ("out", "data", "tokenizer")


def did_you_mean(word: str, choices: Iterable[Any]) -> str:
    """'; did you mean X?' for the choice nearest to `word`, or nothing."""
    known = [str(choice) for choice in choices]
    # What was cut short is known by its beginning.
    near = [choice for choice in known if len(word) > 2 and choice.startswith(word)]
    near = near or difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
