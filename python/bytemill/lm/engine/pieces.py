"""Text of what a row writes, in pieces that are certain.

A character is never divided, though its bytes may be of several tokens, and nothing is given out
that may turn out to begin a stop string.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bytemill.chat.conversation import PartType
from bytemill.chat.render import Renderer
from bytemill.tokenizer.tokenizer import Tokenizer


class Piece(NamedTuple):
    """Some text of a part; a call of a tool, or its result, is one piece."""

    kind: PartType
    text: str


class TextPieces:
    """Of plain text.

    Args:
        tokenizer: The model's.
        stop: Strings that end the text, which has none of them.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, [text for text in stop if text]
        self._decoder = tokenizer.stream_decoder()
        self._held = ""
        self.is_stopped = False
        """Whether a stop string came; nothing does after it."""

    def push(self, id: int) -> list[Piece]:
        """Adds a token; what is certain now. Special tokens are left out."""
        if self.is_stopped or self._tokenizer.is_control_token(id):
            return []
        return self._given(self._decoder.push(id))

    def finish(self) -> list[Piece]:
        """What is left when the row has ended."""
        if self.is_stopped:
            return []
        pieces = self._given(self._decoder.finish())
        self._decoder = self._tokenizer.stream_decoder()
        if not self.is_stopped and self._held:
            pieces.append(Piece("text", self._held))
            self._held = ""
        return pieces

    def _given(self, text: str) -> list[Piece]:
        if not text:
            return []
        held = self._held + text
        found = [at for stop in self._stop if (at := held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            certain, self._held = held[: min(found)], ""
        else:
            keep = max((_overlap(held, stop) for stop in self._stop), default=0)
            certain, self._held = held[: len(held) - keep], held[len(held) - keep :]
        return [Piece("text", certain)] if certain else []


class ReplyPieces:
    """Of an assistant's message: together what `Renderer.reply` makes of all its ids.

    Args:
        renderer: Of the model's tokenizer.
        stop: Strings that end the message; they are looked for in text, between calls of tools.
    """

    def __init__(self, renderer: Renderer, stop: Sequence[str] = ()) -> None:
        special = renderer.special
        self._renderer = renderer
        self._starts: dict[int, PartType] = {
            special["<|python_start|>"]: "python",
            special["<|output_start|>"]: "python_output",
        }
        self._ends = {
            special["<|python_end|>"]: "python",
            special["<|output_end|>"]: "python_output",
        }
        self._text = TextPieces(renderer.tokenizer, stop)
        self._kind: PartType = "text"
        self._kept: list[int] = []
        self._is_after_call = False
        self._has_text = self._has_ended = False

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string came; nothing does after it."""
        return self._text.is_stopped

    def push(self, id: int) -> list[Piece]:
        """Adds a token; what is certain now."""
        self._has_ended |= id == self._renderer.stop_id
        if self.is_stopped or self._has_ended:
            return []
        if id in self._starts:
            pieces = self.finish()
            self._kind = self._starts[id]
            return pieces
        if id in self._ends:
            return self.finish() if self._kind == self._ends[id] else []
        if self._renderer.tokenizer.is_control_token(id):
            return []
        if self._kind == "text":
            self._has_text = True
            return self._text.push(id)
        self._kept.append(id)
        return []

    def finish(self) -> list[Piece]:
        """What is left when the row, or a part of it, has ended."""
        if self._kind == "text":
            if self._has_text:
                self._is_after_call = self._has_text = False
            return self._text.finish()
        kind, kept = self._kind, self._kept
        self._kind, self._kept = "text", []
        if kind == "python_output" and not self._is_after_call:  # of no call: text
            if not kept:
                return []
            self._is_after_call = False
            return [*(p for id in kept for p in self._text.push(id)), *self._text.finish()]
        self._is_after_call = kind == "python"
        return [Piece(kind, self._renderer.tokenizer.decode(kept))]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a stop string, without being all of it."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
