"""Conversations to token ids, and which of them a model is trained to write.

The format is nanochat's (https://github.com/karpathy/nanochat). In brackets, whether an id is
trained on:

    <|bos|> [0]
    <|user_start|> text <|user_end|> [0]
    <|assistant_start|> [0]
        text [1]
        <|python_start|> expression <|python_end|> [1]
        <|output_start|> result <|output_end|> [0]
    <|assistant_end|> [1]

A system message is put before the first user's, a blank line between them. Text is encoded as
ordinary text, part by part: whatever a person writes, special tokens are only those of the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bytemill.chat.conversation import Conversation, Message, Part, PartType
from bytemill.tokenizer.special import with_special
from bytemill.tokenizer.tokenizer import Tokenizer

SPECIAL_TOKENS: Final = (
    "<|bos|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)
"""What a tokenizer needs for conversations, in the order in which they get their ids."""

MAX_TOKENS: Final = 2048
"""Where conversations are cut, if nothing else is said."""

_BOS, _USER, _USER_END, _ASSISTANT, _ASSISTANT_END, _PYTHON, _PYTHON_END, _OUTPUT, _OUTPUT_END = (
    SPECIAL_TOKENS
)
_AROUND: Final[dict[PartType, tuple[str, str]]] = {
    "python": (_PYTHON, _PYTHON_END),
    "python_output": (_OUTPUT, _OUTPUT_END),
}


@dataclass(frozen=True)
class Cut:
    """How a conversation was cut to its length."""

    n_tokens: int
    """Of the whole conversation."""
    message: int
    """The number of the message that is cut, from 1; what follows it is missing."""
    before_call: bool
    """Whether it was cut before a call of a tool, which did not fit as a whole."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as token ids."""

    ids: list[int]
    mask: list[int]
    """As long as `ids`: 1 for what the assistant is to write, 0 for what it is given."""
    cut: Cut | None
    """None if it is whole."""


class Renderer:
    """Renders conversations for a tokenizer.

    Args:
        tokenizer: It has `SPECIAL_TOKENS`; see `with_special_tokens`.

    Raises:
        TypeError: It is not a `Tokenizer`.
        ValueError: It lacks some of them, or finds some in ordinary text, as it does added tokens
            of a tokenizer.json that are not special; the message names them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not isinstance(tokenizer, Tokenizer):
            raise TypeError(
                f"tokenizer is a {type(tokenizer).__name__}, not a bytemill.Tokenizer: load one "
                "with Tokenizer.load, or train it"
            )
        special, encode = tokenizer.special_tokens, tokenizer.encode_ordinary
        missing = [token for token in SPECIAL_TOKENS if token not in special]
        if missing:
            raise ValueError(
                f"the tokenizer has no special token {', '.join(missing)}: train it with those of "
                "bytemill.chat.SPECIAL_TOKENS, or add them with bytemill.chat.with_special_tokens"
            )
        found = [token for token in SPECIAL_TOKENS if special[token] in encode(token)]
        if found:
            raise ValueError(
                f"the tokenizer finds {', '.join(found)} in ordinary text: whoever writes that "
                'would write a special token; its tokenizer.json must say "special": true of them'
            )
        self.tokenizer = tokenizer
        self.special = {token: special[token] for token in SPECIAL_TOKENS}
        """The ids of `SPECIAL_TOKENS`."""

    @property
    def stop_id(self) -> int:
        """What ends an assistant's message."""
        return self.special[_ASSISTANT_END]

    def render(self, conversation: Conversation, max_tokens: int | None = MAX_TOKENS) -> Rendered:
        """All of a conversation, for training.

        Args:
            conversation: What to render.
            max_tokens: Where it is cut, at the end. A tool's call and its result are cut as one:
                they are whole, or are not there. None does not cut.

        Raises:
            ValueError: `max_tokens` is below 1; a part's ids are not of its text, or not the
                tokenizer's.
        """
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens}: it must be at least 1")
        ids, mask = [self.special[_BOS]], [0]
        ends: list[int] = []
        calls: list[tuple[int, int]] = []
        for role, parts in self._turns(conversation):
            is_user = role == "user"
            ids.append(self.special[_USER if is_user else _ASSISTANT])
            mask.append(0)
            for part in parts:
                start = len(ids)
                around = _AROUND.get(part.type)
                ids += [self.special[around[0]]] if around else []
                ids += self._ids(part)
                ids += [self.special[around[1]]] if around else []
                is_trained = not is_user and part.type != "python_output"
                mask += [int(is_trained)] * (len(ids) - start)
                if part.type == "python":
                    calls.append((start, len(ids)))
                elif part.type == "python_output":
                    calls[-1] = calls[-1][0], len(ids)
            ids.append(self.special[_USER_END if is_user else _ASSISTANT_END])
            mask.append(int(not is_user))
            ends.append(len(ids))
        if max_tokens is None or len(ids) <= max_tokens:
            return Rendered(ids, mask, None)
        end, before_call = max_tokens, False
        for start, call_end in calls:
            if start < end < call_end:
                end, before_call = start, True
        turn = next(i for i, n in enumerate(ends) if n > end)
        cut = Cut(len(ids), turn + 1 + conversation.has_system, before_call)
        return Rendered(ids[:end], mask[:end], cut)

    def prompt(self, conversation: Conversation) -> list[int]:
        """What a model is given to write the next assistant's message.

        An assistant's message at the end is left out: it is what is asked for.
        """
        rendered = self.render(conversation.but_last_reply(), None)
        return [*rendered.ids, self.special[_ASSISTANT]]

    def reply(self, ids: Iterable[int]) -> Message:
        """The assistant's message of ids that a model wrote after a `prompt`, with forced results.

        Each part keeps its ids, so that rendering the message gives them again. Reading ends at
        the end of the message. Special tokens that have no place there are left out, but not added
        tokens that are text (`Tokenizer.is_control_token`); a part that is not closed ends where
        the ids do.

        Raises:
            TypeError: An id is not an integer.
            ValueError: An id before the end of the message is not one of the tokenizer's; the
                message names it.
        """
        kinds: dict[int, PartType] = {
            self.special[start]: kind for kind, (start, _) in _AROUND.items()
        }
        ends = {self.special[end]: kind for kind, (_, end) in _AROUND.items()}
        parts: list[Part] = []
        kind: PartType = "text"
        kept: list[int] = []

        def close() -> None:
            nonlocal kind
            follows = bool(parts) and parts[-1].type == "python"
            if kind == "python_output" and not follows:
                kind = "text"  # no call that it could be the result of
            if kept or kind != "text":
                text = self._text(kept)
                parts.append(Part(kind, text, tuple(kept)))
            kept.clear()
            kind = "text"

        for id in ids:
            if id == self.stop_id:
                break
            if id in kinds:
                close()
                kind = kinds[id]
            elif id in ends:
                if kind == ends[id]:
                    close()
            elif not self.tokenizer.is_control_token(id):
                kept.append(id)
        close()
        return Message("assistant", tuple(parts))

    def _text(self, ids: Sequence[int]) -> str:
        """What ids stand for."""
        try:
            return self.tokenizer.decode(ids)
        except KeyError:
            foreign = next(id for id in ids if not self._is_known(id))
            raise ValueError(
                f"the id {foreign} is not one of the tokenizer's, whose ids go up to "
                f"{self.tokenizer.n_vocab - 1}: use the one that the model was trained with"
            ) from None

    def _is_known(self, id: int) -> bool:
        try:
            self.tokenizer.decode([id])
        except KeyError:
            return False
        return True

    def _turns(self, conversation: Conversation) -> Iterable[tuple[str, Sequence[Part]]]:
        """Roles and parts, the system's text put into the first user's message."""
        messages = conversation.messages
        before = ""
        if conversation.has_system:
            before, messages = f"{messages[0].text}\n\n", messages[1:]
        for message in messages:
            if message.role == "user":
                yield message.role, [Part("text", before + message.text)]
                before = ""
            else:
                yield message.role, message.parts

    def _ids(self, part: Part) -> Sequence[int]:
        if part.ids is None:
            return self.tokenizer.encode_ordinary(part.text)
        has_special = any(self.tokenizer.is_control_token(id) for id in part.ids)
        if has_special or self._text(part.ids) != part.text:
            raise ValueError(
                f"a part of type {part.type!r} has ids that are not of its text "
                f"{part.text[:40]!r}; leave them out to encode the text"
            )
        return part.ids


def with_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with those of `SPECIAL_TOKENS` that it lacks, after its highest id.

    Ordinary text gets the ids that it got before, also by what a tokenizer.json says of it. A model
    made for the old one needs a larger vocabulary.
    """
    return with_special(tokenizer, SPECIAL_TOKENS)
