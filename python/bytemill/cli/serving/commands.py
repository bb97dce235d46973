"""What can be said to a conversation instead of into it: lines that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bytemill.cli.serving.talk import Talk


class Left(Exception):
    """The conversation is over."""


class Command(NamedTuple):
    """One of them."""

    argument: str
    """What follows its name; "" for nothing."""
    help: str
    run: Callable[[Talk, str], str] | None
    """Does it; what to tell. None if another answer is wanted, which is shown as any is."""


def _clear(talk: Talk, text: str) -> str:
    talk.clear()
    return "a new conversation"


def _system(talk: Talk, text: str) -> str:
    if text:
        talk.system = "" if text == "none" else text
        return "the system message is set, from the next answer on"
    return f"the system message: {talk.system}" if talk.system else "there is no system message"


def _temperature(talk: Talk, text: str) -> str:
    if text:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"/temperature {text}: it is not a number") from None
        talk.set_temperature(value)
    return f"temperature {talk.sampling.temperature:g}"


def _save(talk: Talk, text: str) -> str:
    if not text:
        raise ValueError("/save: name a file")
    talk.save(Path(text))
    return f"saved: {text}"


def _load(talk: Talk, text: str) -> str:
    if not text:
        raise ValueError("/load: name a file")
    talk.load(Path(text))
    return f"{len(talk.messages)} messages from {text}"


def _tokens(talk: Talk, text: str) -> str:
    figures = talk.figures
    told = f"{talk.n_tokens():,} tokens; the context has {talk.context:,}"
    if figures.new:
        speed = figures.new / max(figures.seconds, 1e-9)
        told += (
            f"; the last answer: {figures.prompt:,} read, {figures.reused:,} of them known, "
            f"{figures.new:,} written, {speed:,.0f} tokens/s"
        )
    return told


def _quit(talk: Talk, text: str) -> str:
    raise Left


def _help(talk: Talk, text: str) -> str:
    width = max(len(f"/{name} {each.argument}") for name, each in COMMANDS.items())
    lines = [f"{f'/{name} {c.argument}':<{width}}  {c.help}" for name, c in COMMANDS.items()]
    return "\n".join([*lines, "A message that begins with a slash is typed with two."])


COMMANDS: Final[dict[str, Command]] = {
    "clear": Command("", "begin a new conversation", _clear),
    "system": Command("TEXT", "set the system message, or none; show it", _system),
    "temperature": Command("T", "set the temperature; show it", _temperature),
    "save": Command("FILE", "write the conversation to a file", _save),
    "load": Command("FILE", "go on with a saved one", _load),
    "retry": Command("", "another answer in place of the last", None),
    "tokens": Command("", "how long the conversation is, and how fast the answer was", _tokens),
    "help": Command("", "this list", _help),
    "quit": Command("", "end; so does Ctrl-D", _quit),
}


def read(line: str) -> tuple[str | None, str]:
    """A command's name and what follows it; None and the message for what is said.

    Raises:
        ValueError: There is no such command.
    """
    if not line.startswith("/") or line.startswith("//"):
        return None, line.removeprefix("/") if line.startswith("//") else line
    name, _, rest = line[1:].strip().partition(" ")
    name = {"exit": "quit", "?": "help"}.get(name, name)
    if name not in COMMANDS:
        raise ValueError(f"/{name}: there is no such command; /help lists them")
    return name, rest.strip()
