"""`Talk`: a conversation with a model, whatever it is typed into."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bytemill.chat.conversation import Conversation, Message
from bytemill.chat.render import Renderer
from bytemill.files import write_bytes
from bytemill.lm.engine.engine import Engine
from bytemill.lm.engine.pieces import Piece, ReplyPieces
from bytemill.lm.engine.rows import End, Row, Token
from bytemill.lm.generate.replies import Machine, Tool
from bytemill.lm.generate.sampling import SEEDS, Sampling


@dataclass(frozen=True)
class Figures:
    """Of the last answer, and of the conversation."""

    prompt: int = 0
    """Tokens the model was given."""
    reused: int = 0
    """Of these, those that it had read before."""
    new: int = 0
    """Tokens of the answer."""
    seconds: float = 0.0


class Talk:
    """A conversation; an answer is read as it is written.

    Args:
        engine: Computes the answers; nobody else uses it.
        renderer: Of the model's tokenizer.
        sampling: How tokens are chosen; may be changed between answers.
        max_tokens: Of an answer.
        seed: Of the first answer; the next ones count on from it.
        tool: Works out expressions; None for no tool.
    """

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        sampling: Sampling,
        *,
        max_tokens: int,
        seed: int,
        tool: Tool | None,
    ) -> None:
        self._engine, self._renderer, self._tool = engine, renderer, tool
        self.sampling, self._max_tokens, self._seed = sampling, max_tokens, seed
        self.system = ""
        self.messages: list[Message] = []
        """The user's and the assistant's, by turns."""
        self.figures = Figures()
        self.n_left_out = 0
        """Messages that the last answer was written without, as they no longer fit."""

    @property
    def context(self) -> int:
        """The model's context length."""
        return self._engine.max_length

    def ask(self, text: str, is_stopped: Callable[[], bool]) -> Iterator[Piece]:
        """Says something, and yields the answer in pieces; it is kept, also when it is stopped.

        Args:
            text: What to say.
            is_stopped: Looked at with each token; ends the answer.

        Raises:
            ValueError: The text alone is longer than the context; the conversation is as before.
        """
        messages = [*self.messages, Message("user", text)]
        prompt, self.n_left_out = self._prompt(messages)
        self.messages = messages
        return self._answer(prompt, is_stopped)

    def retry(self, is_stopped: Callable[[], bool]) -> Iterator[Piece]:
        """Another answer in place of the last one.

        Raises:
            ValueError: Nothing was asked yet.
        """
        messages = [*self.messages]
        if messages and messages[-1].role == "assistant":
            messages.pop()
        if not messages:
            raise ValueError("there is nothing to answer yet")
        prompt, self.n_left_out = self._prompt(messages)
        self.messages = messages
        return self._answer(prompt, is_stopped)

    def clear(self) -> None:
        """Begins anew; the system message stays."""
        self.messages = []

    def set_temperature(self, temperature: float) -> None:
        """From the next answer on.

        Raises:
            ValueError: It is out of range.
        """
        self.sampling = replace(self.sampling, temperature=temperature)

    def n_tokens(self) -> int:
        """Of the whole conversation."""
        if not self.messages:
            return 0
        return len(self._renderer.render(self._conversation(self.messages), None).ids)

    def save(self, path: Path) -> None:
        """Writes the conversation as a line of JSON, which `load` and training read.

        Raises:
            ValueError: There is nothing to save.
            OSError: It cannot be written.
        """
        if not self.messages:
            raise ValueError("there is nothing to save yet")
        line = json.dumps(self._conversation(self.messages).to_dict(), ensure_ascii=False) + "\n"
        write_bytes(path, line.encode())

    def load(self, path: Path) -> None:
        """Goes on with a saved conversation, the last one of the file.

        Raises:
            ValueError: It is not one; this conversation is as before.
            OSError: It cannot be read.
        """
        lines = path.read_bytes().decode("utf-8", "replace").strip().splitlines()
        if not lines:
            raise ValueError(f"{path}: it is empty")
        try:
            conversation = Conversation.of(json.loads(lines[-1]))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a conversation: {error}") from None
        messages = list(conversation.messages)
        self.system = messages.pop(0).text if conversation.has_system else ""
        if messages[-1].role == "user":
            messages.pop()  # it is to be asked again
        self.messages = messages

    def _conversation(self, messages: list[Message]) -> Conversation:
        system = [Message("system", self.system)] if self.system else []
        return Conversation((*system, *messages))

    def _prompt(self, messages: list[Message]) -> tuple[list[int], int]:
        """Of the latest whole turns that leave room for an answer, and how many are left out."""
        room = self.context - min(self._max_tokens, max(1, self.context // 4)) + 1
        for first in range(0, len(messages), 2):
            prompt = self._renderer.prompt(self._conversation(messages[first:]))
            if len(prompt) <= room:
                return prompt, first
        if len(prompt) <= self.context:
            return prompt, first
        raise ValueError(
            f"this message has {len(prompt)} tokens with what belongs to it, and the model's "
            f"context length is {self.context}; shorten it"
        )

    def _answer(self, prompt: list[int], is_stopped: Callable[[], bool]) -> Iterator[Piece]:
        pieces, found = ReplyPieces(self._renderer), list[Piece]()
        ends: list[End] = []

        def on_token(token: Token) -> bool:
            found.extend(pieces.push(token.id))
            return not is_stopped()

        limit = min(self._max_tokens, self.context - len(prompt) + 1)
        machine = Machine(self._renderer, prompt, limit, self._tool)
        row = Row(machine, self.sampling, seed=self._seed, on_token=on_token, on_end=ends.append)
        self._seed = (self._seed + 1) % SEEDS
        began = time.perf_counter()
        self._engine.submit([row])
        try:
            while not ends:
                if is_stopped():
                    row.cancel()
                self._engine.step()
                yield from found
                found.clear()
            yield from pieces.finish()
            if ends[0].error is not None:
                raise ends[0].error
        finally:
            row.cancel()
            self._engine.step()
            self.messages.append(self._renderer.reply(machine.ids))
            seconds = time.perf_counter() - began
            self.figures = Figures(len(prompt), row.reused, len(machine.ids), seconds)
