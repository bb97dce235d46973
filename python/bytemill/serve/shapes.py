"""Answers in OpenAI's shapes: whole, and as the chunks of a stream."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from bytemill.lm.engine.pieces import Piece
from bytemill.lm.engine.rows import Token
from bytemill.serve.assistant import News, pieces_text
from bytemill.serve.requests import Asked, ChatAsked, TextAsked
from bytemill.tokenizer.tokenizer import Tokenizer

DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + dumped(data) + b"\n\n"


def dumped(data: dict[str, Any]) -> bytes:
    """JSON in UTF-8."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


class Shape(ABC):
    """Of the answers to one request.

    Args:
        common: What was asked.
        model: The model's name.
        tokenizer: Of the model.
    """

    id_start: str
    whole_name: str
    chunk_name: str

    def __init__(self, common: Asked, model: str, tokenizer: Tokenizer) -> None:
        self._common, self._tokenizer = common, tokenizer
        self._head = {
            "id": f"{self.id_start}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        """An event with what is new."""
        usage = {"usage": None} if self._common.with_usage else {}
        return event({**self._head, "object": self.chunk_name, "choices": choices, **usage, **more})

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, object]) -> dict[str, Any]:
        """The answer in one piece; `seed` is the first choice's, to have it again."""
        common = {"object": self.whole_name, "choices": choices, "usage": usage}
        return {**self._head, **common, "seed": self._common.seed}

    def end(self, usage: dict[str, object]) -> bytes:
        """What a stream ends with."""
        if not self._common.with_usage:
            return DONE
        return self.chunk([], usage=usage, seed=self._common.seed) + DONE

    @abstractmethod
    def beginning(self) -> bytes:
        """What a stream begins with."""

    @abstractmethod
    def news(self, news: News) -> Iterator[bytes]:
        """Events of what a row wrote."""

    @abstractmethod
    def choice(self, index: int, all_news: Sequence[News]) -> dict[str, Any]:
        """A whole answer's part for a row, of all that it wrote."""

    def _token_text(self, id: int) -> str:
        return self._tokenizer.decode([id])


class ChatShape(Shape):
    """Of /v1/chat/completions."""

    id_start, whole_name, chunk_name = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, asked: ChatAsked, model: str, tokenizer: Tokenizer) -> None:
        super().__init__(asked.common, model, tokenizer)
        self._with_parts = asked.with_parts

    def beginning(self) -> bytes:
        """The role of each choice."""
        delta = {"role": "assistant", "content": ""}
        return b"".join(
            self.chunk([self._part(i, delta, None, None)]) for i in range(self._common.n)
        )

    def news(self, news: News) -> Iterator[bytes]:
        """A chunk for the text, one for each call and result, and one for the end."""
        logprobs = self._logprobs(news.tokens)
        for piece in news.pieces:
            delta: dict[str, Any]
            if piece.kind == "text":
                delta = {"content": piece.text}
            elif self._with_parts:
                # Other clients see an empty text.
                delta = {"content": "", "part": {"type": piece.kind, "text": piece.text}}
            else:
                continue
            yield self.chunk([self._part(news.row, delta, None, logprobs)])
            logprobs = None
        if news.end is not None:
            yield self.chunk([self._part(news.row, {}, news.end.finish, logprobs)])
        elif logprobs is not None and logprobs["content"]:  # of a call that is not shown
            yield self.chunk([self._part(news.row, {"content": ""}, None, logprobs)])

    def choice(self, index: int, all_news: Sequence[News]) -> dict[str, Any]:
        """The message, and why it ended."""
        pieces = [piece for news in all_news for piece in news.pieces]
        message: dict[str, Any] = {"role": "assistant", "content": pieces_text(pieces)}
        message["refusal"] = None
        if self._with_parts:
            message["parts"] = [{"type": kind, "text": text} for kind, text in joined(pieces)]
        end = all_news[-1].end
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs([token for news in all_news for token in news.tokens]),
            "finish_reason": None if end is None else end.finish,
        }

    def _part(
        self, index: int, delta: dict[str, Any], finish: str | None, logprobs: Any
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if self._common.n_top is None:
            return None
        content = []
        for token in tokens:
            one = self._one(token.id, token.logprob)
            content.append({**one, "top_logprobs": [self._one(*other) for other in token.top]})
        return {"content": content, "refusal": None}

    def _one(self, id: int, logprob: float | None) -> dict[str, Any]:
        data = self._tokenizer.decode_single_token_bytes(id)
        return {"token": self._token_text(id), "logprob": logprob, "bytes": list(data)}


class TextShape(Shape):
    """Of /v1/completions."""

    id_start, whole_name, chunk_name = "cmpl", "text_completion", "text_completion"

    def __init__(
        self, asked: TextAsked, prompts: list[list[int]], model: str, tokenizer: Tokenizer
    ) -> None:
        super().__init__(asked.common, model, tokenizer)
        self._echoes: list[str] = []
        if asked.echo:
            self._echoes = [
                given if isinstance(given, str) else tokenizer.decode(prompt)
                for given, prompt in zip(asked.prompts, prompts, strict=True)
                for _ in range(asked.common.n)
            ]
        starts = [len(text) for text in self._echoes] or [0] * (len(prompts) * asked.common.n)
        self._offsets = starts

    def beginning(self) -> bytes:
        """The prompts, if they are to be repeated."""
        return b"".join(
            self.chunk([self._part(i, text, None, None)]) for i, text in enumerate(self._echoes)
        )

    def news(self, news: News) -> Iterator[bytes]:
        """A chunk for the text, and one for the end."""
        logprobs = self._logprobs(news.tokens, self._offsets[news.row])
        if logprobs is not None:
            self._offsets[news.row] += sum(map(len, logprobs["tokens"]))
        if text := pieces_text(news.pieces):
            yield self.chunk([self._part(news.row, text, None, logprobs)])
            logprobs = None
        if news.end is not None:
            yield self.chunk([self._part(news.row, "", news.end.finish, logprobs)])

    def choice(self, index: int, all_news: Sequence[News]) -> dict[str, Any]:
        """The text, and why it ended."""
        text = self._echoes[index] if self._echoes else ""
        text += pieces_text([piece for news in all_news for piece in news.pieces])
        tokens = [token for news in all_news for token in news.tokens]
        logprobs = self._logprobs(tokens, len(self._echoes[index]) if self._echoes else 0)
        end = all_news[-1].end
        return self._part(index, text, None if end is None else end.finish, logprobs)

    def _part(self, index: int, text: str, finish: str | None, logprobs: Any) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _logprobs(self, tokens: Sequence[Token], start: int) -> dict[str, Any] | None:
        if self._common.n_top is None:
            return None
        texts = [self._token_text(token.id) for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self._token_text(id_): p for id_, p in token.top} for token in tokens
            ],
            "text_offset": list(accumulate(map(len, texts[:-1]), initial=start)) if texts else [],
        }


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces as parts: neighbouring texts are one."""
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].kind == piece.kind == "text":
            found[-1] = Piece("text", found[-1].text + piece.text)
        else:
            found.append(piece)
    return found
