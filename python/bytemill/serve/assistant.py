"""`Assistant`: a model with its tokenizer; requests become rows of an engine."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bytemill.chat.conversation import Conversation, Message
from bytemill.chat.render import Renderer
from bytemill.lm.batches.vocabulary import separator
from bytemill.lm.engine.pieces import Piece, ReplyPieces, TextPieces
from bytemill.lm.engine.rows import End, Row, TextMachine, Token
from bytemill.lm.engine.worker import Pool
from bytemill.lm.generate.replies import Machine, Tool
from bytemill.lm.generate.sampling import SEEDS
from bytemill.serve.errors import ApiError, invalid
from bytemill.serve.requests import Asked, ChatAsked, TextAsked
from bytemill.tokenizer.tokenizer import Tokenizer
from bytemill.tools.calculator import calculate

_MOST_IDS = 1_000_000


@dataclass(frozen=True)
class News:
    """What a row wrote, or how it ended."""

    row: int
    """Which of the request's."""
    pieces: list[Piece]
    tokens: list[Token]
    """Those that became certain with the pieces, if log-probabilities were asked for."""
    end: End | None = None
    """How it ended, with the last news of a row."""


Tell = Callable[[News], None]


@dataclass(frozen=True)
class Job:
    """A request as rows; its usage is known when they have ended."""

    rows: list[Row]
    prompts: list[list[int]]
    """One for each n rows."""
    remember: Callable[[Row], None]
    """Called with a row that has ended."""

    def usage(self) -> dict[str, object]:
        """As OpenAI counts it."""
        n_prompt = sum(map(len, self.prompts))
        n_new = sum(len(row.machine.ids) for row in self.rows)
        n = len(self.rows) // len(self.prompts)
        reused = sum(row.reused for row in self.rows[::n])
        return {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_new,
            "total_tokens": n_prompt + n_new,
            "prompt_tokens_details": {"cached_tokens": reused},
        }


class Assistant:
    """A model that answers.

    Args:
        name: What clients call it.
        pool: Engines of the model.
        tokenizer: What it was trained with.
        tool: Works out expressions; None for no tool.
    """

    def __init__(
        self, name: str, pool: Pool, tokenizer: Tokenizer, tool: Tool | None = calculate
    ) -> None:
        self.name, self.pool, self.tokenizer, self._tool = name, pool, tokenizer, tool
        self.created = int(time.time())
        self.context = pool.workers[0].engine.max_length
        self._memory = Memory()
        try:
            self.renderer: Renderer | None = Renderer(tokenizer)
        except ValueError:
            self.renderer = None  # a base model

    def chat(self, asked: ChatAsked, tell: Tell) -> Job:
        """Rows for the next message of a conversation.

        Raises:
            ApiError: It is longer than the context, or the model knows no conversations.
        """
        renderer = self.renderer
        if renderer is None:
            raise invalid(
                None,
                f"{self.name} is a base model, whose tokenizer has no tokens for conversations; "
                "use /v1/completions",
                "unsupported_model",
            )
        conversation, key = self._memory.recall(asked.conversation)
        prompt = renderer.prompt(conversation)
        self._check(prompt, "messages", "drop earlier messages")
        common = asked.common

        def machine(prompt: list[int], limit: int) -> Machine:
            return Machine(renderer, prompt, limit, self._tool)

        def remember(row: Row) -> None:
            self._memory.keep(key, renderer.reply(row.machine.ids))

        rows = [
            self._row(common, i, machine(prompt, self._limit(common, prompt)), tell, pieces)
            for i, pieces in enumerate(ReplyPieces(renderer, common.stop) for _ in range(common.n))
        ]
        return Job(rows, [prompt], remember)

    def complete(self, asked: TextAsked, tell: Tell) -> Job:
        """Rows that go on with texts.

        Raises:
            ApiError: One is longer than the context, or has ids that are not the tokenizer's.
        """
        common, between = asked.common, separator(self.tokenizer)
        stop = () if between is None else (between,)
        prompts: list[list[int]] = []
        rows: list[Row] = []
        for given in asked.prompts:
            if isinstance(given, str):
                # What a person writes is never read as special tokens.
                prompt = [*stop, *self.tokenizer.encode_ordinary(given)]
            else:
                prompt = list(given)
                if prompt and not 0 <= min(prompt) <= max(prompt) < self.tokenizer.n_vocab:
                    raise invalid("prompt", f"ids go from 0 to {self.tokenizer.n_vocab - 1}")
            if not prompt:
                raise invalid("prompt", "it is empty, and the model has no token to begin with")
            self._check(prompt, "prompt", "shorten it")
            prompts.append(prompt)
            for _ in range(common.n):
                machine = TextMachine(prompt, self._limit(common, prompt), stop)
                pieces = TextPieces(self.tokenizer, common.stop)
                rows.append(self._row(common, len(rows), machine, tell, pieces))
        return Job(rows, prompts, lambda row: None)

    def _check(self, prompt: list[int], param: str, remedy: str) -> None:
        if len(prompt) > self.context:
            raise invalid(
                param,
                f"{len(prompt)} tokens, but the model's context length is {self.context}; {remedy}",
                "context_length_exceeded",
            )

    def _limit(self, common: Asked, prompt: list[int]) -> int:
        room = self.context - len(prompt) + 1
        return room if common.max_tokens is None else min(common.max_tokens, room)

    def _row(
        self,
        common: Asked,
        number: int,
        machine: Machine | TextMachine,
        tell: Tell,
        pieces: ReplyPieces | TextPieces,
    ) -> Row:
        held: list[Token] = []

        def on_token(token: Token) -> bool:
            if common.n_top is not None and not token.is_forced:
                held.append(token)
            some = pieces.push(token.id)
            if some:
                tell(News(number, some, held[:]))
                held.clear()
            return not pieces.is_stopped

        def on_end(end: End) -> None:
            # What a stop string cut off is not told of.
            rest = [] if pieces.is_stopped else held[:]
            tell(News(number, pieces.finish(), rest, end))

        return Row(
            machine,
            common.sampling,
            seed=(common.seed + number) % SEEDS,
            n_top=common.n_top,
            on_token=on_token,
            on_end=on_end,
        )


class Memory:
    """The ids of messages that were given out, found again by what a client sees of them.

    So a conversation's next turn shows the model what it wrote, hidden calls included, and not
    other ids of the same text. The messages used most recently are kept.
    """

    def __init__(self, most_ids: int = _MOST_IDS) -> None:
        self._most, self._held = most_ids, 0
        self._kept: OrderedDict[bytes, tuple[Message, int]] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, conversation: Conversation) -> tuple[Conversation, bytes]:
        """The conversation with the ids that are known, and its key, for `keep`."""
        key, messages = b"", []
        for message in conversation.messages:
            key = _key(key, message)
            if message.role == "assistant":
                with self._lock:
                    if key in self._kept:
                        self._kept.move_to_end(key)
                        message = self._kept[key][0]
            messages.append(message)
        return Conversation(tuple(messages)), key

    def keep(self, key: bytes, message: Message) -> None:
        """Keeps the message that came after a conversation."""
        n = 64 + sum(len(part.ids or ()) for part in message.parts)
        seen = (Message("assistant", message.text), Message.of(message.to_dict()))
        with self._lock:
            for shown in seen:
                name = _key(key, shown)
                if name in self._kept:
                    self._held -= self._kept.pop(name)[1]
                self._kept[name] = message, n
                self._held += n
            while self._held > self._most:
                self._held -= self._kept.popitem(last=False)[1][1]


def _key(before: bytes, message: Message) -> bytes:
    shown = json.dumps([message.role, message.to_dict()["content"]])
    return hashlib.blake2b(before + shown.encode(), digest_size=16).digest()


def full(n_waiting: int, seconds: float) -> ApiError:
    """429, with the time after which to try again."""
    return ApiError(
        429,
        f"{n_waiting} answers are waiting already; try again in {seconds:.0f} seconds",
        code="queue_full",
        headers={"retry-after": f"{seconds:.0f}"},
    )


def pieces_text(pieces: Sequence[Piece]) -> str:
    """The text of pieces, without calls and results of tools."""
    return "".join(piece.text for piece in pieces if piece.kind == "text")
