"""A conversation with a model in the terminal.

bytemill chat runs/sft
"""

from __future__ import annotations

import argparse
import re
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from bytemill.chat.render import Renderer
from bytemill.cli import model
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.console.streams import tell
from bytemill.cli.serving import commands
from bytemill.cli.serving.talk import Talk
from bytemill.lm.engine.engine import Engine, EngineSettings
from bytemill.lm.engine.pieces import Piece
from bytemill.lm.generate.sampling import SEEDS, Sampling
from bytemill.lm.generate.text import check_vocabulary
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.signals import handled
from bytemill.tools.calculator import calculate

# What a terminal would obey: all controls but tab and line feed.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Talk to a model. Enter sends, Alt-Enter begins a line, Ctrl-C stops an "
        "answer, Ctrl-D ends; /help lists commands. Without a terminal each line of stdin is a "
        "message.",
        epilog=EPILOG,
    )
    model.add_flags(result, by_place=True)
    add = result.add_argument
    add("-p", "--prompt", metavar="TEXT", help="say this, print the answer and end (default: talk)")
    add("--system", default="", metavar="TEXT", help="the system message (default: none)")
    add(
        "--temperature",
        type=float,
        default=0.6,
        metavar="T",
        help="divides the logits: 0 is greedy, 1 as trained (default: %(default)s)",
    )
    add(
        "--top-k",
        type=int,
        default=50,
        metavar="K",
        help="choose among the K likeliest tokens; 0 for all (default: %(default)s)",
    )
    add(
        "--top-p",
        type=float,
        metavar="P",
        help="choose among the likeliest tokens, of probability P together, from 0 to 1 "
        "(default: all)",
    )
    add(
        "--max-tokens",
        type=int,
        default=1024,
        metavar="N",
        help="the most tokens of an answer (default: %(default)s)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="an integer of at least 0; the next answers have the next ones (default: random)",
    )
    add("--no-tool", action="store_true", help="let no calculator work out expressions")
    add("--history", metavar="FILE", help="keep what is typed for the next time (default: do not)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "the conversation is over")


def run(args: argparse.Namespace) -> None:
    """Loads the model and talks."""
    if args.max_tokens < 1:
        raise ValueError(f"--max-tokens {args.max_tokens}: it must be at least 1")
    seed = secrets.randbelow(SEEDS) if args.seed is None else args.seed
    if not 0 <= seed < SEEDS:
        raise ValueError(f"--seed {seed}: it must be from 0 to 2**63 - 1")
    sampling = Sampling(args.temperature, args.top_k or None, args.top_p)
    is_terminal = args.prompt is None and sys.stdin is not None and sys.stdin.isatty()
    show = Shown() if is_terminal else Printed()
    read = _typed(args.history, show.pressed) if is_terminal else _piped
    loaded, dtype = model.load(args)
    tokenizer = model.tokenizer_of(args, loaded)
    check_vocabulary(tokenizer, loaded.config.vocab_size)
    weights = DecodingWeights(loaded.model, dtype)
    engine = Engine(weights, tokenizer.n_vocab, EngineSettings(max_rows=1))
    talk = Talk(
        engine,
        Renderer(tokenizer),
        sampling,
        max_tokens=args.max_tokens,
        seed=seed,
        tool=None if args.no_tool else calculate,
    )
    talk.system = args.system
    if args.prompt is not None:
        show.answer(lambda stopped: talk.ask(args.prompt, stopped), talk)
        return
    if not is_terminal:
        converse(talk, read(), show, stops=True)
        return
    show.note(f"{Path(args.model).resolve().name}, {talk.context:,} tokens of context; /help")
    with interrupted(show.pressed):  # also between an answer and the prompt
        converse(talk, read(), show, stops=False)


def converse(talk: Talk, lines: Iterator[str], show: Printed, *, stops: bool) -> None:
    """Says each line, or carries it out.

    Args:
        talk: The conversation.
        lines: What is typed.
        show: Shows answers and notes.
        stops: Whether a mistake ends it, as nobody is there to try again.
    """
    for line in lines:
        if not line.strip():
            continue
        try:
            name, text = commands.read(line)
            if name is None:
                show.answer(lambda stopped, text=text: talk.ask(text, stopped), talk)  # type: ignore[misc]
            elif (command := commands.COMMANDS[name].run) is None:
                show.answer(talk.retry, talk)
            else:
                show.note(command(talk, text))
        except commands.Left:
            return
        except (ValueError, OSError) as error:
            if stops:
                raise
            show.note(f"error: {error}")


class Printed:
    """Answers as plain text on stdout, the rest on stderr."""

    def __init__(self) -> None:
        self.pressed = threading.Event()
        """Ctrl-C, where it does not end the program."""

    def note(self, text: str) -> None:
        """Something that is not the model's."""
        tell(text)

    def answer(self, begin: Callable[[Callable[[], bool]], Iterator[Piece]], talk: Talk) -> None:
        """Shows an answer as it is written; Ctrl-C stops it."""
        with interrupted(self.pressed) as stopped:
            pieces = begin(stopped.is_set)
            if talk.n_left_out:
                self.note(f"note: {talk.n_left_out} earlier messages no longer fit; left out")
            for piece in pieces:
                self.piece(piece)
        print(flush=True)
        if stopped.is_set():
            self.stopped()

    def piece(self, piece: Piece) -> None:
        """A piece of it."""
        if piece.kind == "text":
            print(piece.text, end="", flush=True)

    def stopped(self) -> None:
        """After an answer that Ctrl-C stopped."""
        raise KeyboardInterrupt


class Shown(Printed):
    """Answers in a terminal: calls of the tool in another colour, and nothing that it obeys."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something that is not the model's."""
        self._console.print(harmless(text), style="dim")

    def piece(self, piece: Piece) -> None:
        """A piece of it."""
        text, style = harmless(piece.text), ""
        if piece.kind == "python":
            text, style = f"[{text}]", "cyan"
        elif piece.kind == "python_output":
            text, style = f"[= {text}]", "green"
        self._console.print(text, end="", style=style)
        self._console.file.flush()

    def stopped(self) -> None:
        """After an answer that Ctrl-C stopped."""
        self.pressed.clear()
        self.note("(stopped)")


def harmless(text: str) -> str:
    """Text without what a terminal would obey, which a model may write."""
    return _CONTROLS.sub("\ufffd", text)


@contextmanager
def interrupted(event: threading.Event) -> Iterator[threading.Event]:
    """Within the block Ctrl-C only sets the event."""

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()

    with handled(handle, signal.SIGINT):
        yield event


def _piped() -> Iterator[str]:
    if sys.stdin is None:
        return
    data = sys.stdin.buffer
    for number, line in enumerate(data, 1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"stdin: line {number} is not UTF-8 at byte {error.start}") from None


def _typed(history: str | None, pressed: threading.Event) -> Callable[[], Iterator[str]]:
    """Lines from a terminal; Ctrl-C that was `pressed` before the prompt came counts as at it."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    kept = InMemoryHistory() if history is None else FileHistory(history)
    session: PromptSession[str] = PromptSession(history=kept, key_bindings=keys)

    def begin() -> None:
        if pressed.is_set():
            session.app.exit(exception=KeyboardInterrupt())

    def lines() -> Iterator[str]:
        while True:
            try:
                line = session.prompt("> ", prompt_continuation="  ", pre_run=begin)
            except KeyboardInterrupt:
                pressed.clear()
                tell("Ctrl-D or /quit ends the conversation")
            except EOFError:
                return
            else:
                yield line

    return lines
