"""Pairs of answers to the same prompt, of which one is preferred."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from bytemill.chat.conversation import Conversation, Message
from bytemill.chat.render import Renderer
from bytemill.data.inputs import Paths, expand_inputs
from bytemill.data.readers import decode, read_lines
from bytemill.lm.batches.loaders import IGNORED

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Pair:
    """A prompt, which ends with a message of the user, and two answers."""

    prompt: Conversation
    chosen: Message
    rejected: Message


@dataclass(frozen=True)
class Encoded:
    """An answer to a prompt: ids and targets as long, targets -1 where they do not count.

    What counts is the answer: its text, its calls of tools and its end.
    """

    ids: list[int]
    targets: list[int]

    @property
    def n_counted(self) -> int:
        """The targets that count."""
        return sum(target != IGNORED for target in self.targets)


@dataclass(frozen=True)
class EncodedPair:
    """Both answers."""

    chosen: Encoded
    rejected: Encoded


@dataclass(frozen=True)
class Pairs:
    """The pairs of some files, encoded, and how many were not of use."""

    pairs: list[EncodedPair]
    n_long: int
    """In which nothing of an answer fits into the context."""
    n_cut: int
    """Of which an answer was cut at the end of the context."""
    n_equal: int
    """Whose answers are the same."""
    bad: list[str]
    """Lines that are not pairs: file, line and reason."""

    @cached_property
    def content(self) -> str:
        """A SHA-256 of what is trained on."""
        result = hashlib.sha256()
        for pair in self.pairs:
            for each in (pair.chosen, pair.rejected):
                result.update(json.dumps([each.ids, each.targets]).encode())
        return result.hexdigest()


def read_pairs(paths: Paths, *, on_bad: Callable[[str], None] | None = None) -> Iterator[Pair]:
    """The pairs of files of JSON lines.

    A line is {"prompt": ..., "chosen": ..., "rejected": ...}. The prompt (or "messages") is a text
    or a list of messages; an answer is a text, a message of the assistant, a list of parts, or a
    list with that message alone. Without a prompt both are whole conversations that differ in their
    last message.

    Args:
        paths: Files, folders or globs, packed or not.
        on_bad: Called for a line that is not a pair, with file, line and reason; it is passed over.
            None raises instead.

    Raises:
        FileNotFoundError: A path is not there.
        ValueError: A line is not a pair; the message names file, line and reason.
    """
    for file in expand_inputs(paths):
        for number, line in enumerate(read_lines(file), 1):
            where = f"{file.path}:{number}"
            if number == 1:
                line = line.removeprefix(_BOM)
            if not line or line.isspace():
                continue
            try:
                yield _read(line, where)
            except ValueError as error:
                if on_bad is None:
                    raise
                on_bad(str(error))


def encode_pairs(
    paths: Paths, renderer: Renderer, max_tokens: int, *, skip_bad: bool = False
) -> Pairs:
    """Reads and encodes pairs; those that are of no use are left out, and counted.

    Args:
        paths: As for `read_pairs`.
        renderer: Makes ids of them.
        max_tokens: Ids of prompt and answer at most; what is longer is cut at its end.
        skip_bad: Pass over lines that are not pairs.

    Raises:
        FileNotFoundError, ValueError: As `read_pairs`; or there is no pair of use.
    """
    bad: list[str] = []
    found: list[EncodedPair] = []
    n_long = n_cut = n_equal = 0
    for pair in read_pairs(paths, on_bad=bad.append if skip_bad else None):
        both = [encode(pair.prompt, each, renderer) for each in (pair.chosen, pair.rejected)]
        if both[0] == both[1]:
            n_equal += 1
            continue
        # Whole, an answer is one id longer than its inputs.
        n_cut += any(len(each.ids) > max_tokens - 1 for each in both)
        both = [Encoded(e.ids[: max_tokens - 1], e.targets[: max_tokens - 1]) for e in both]
        if not all(each.n_counted for each in both) or both[0] == both[1]:
            n_long += 1
            continue
        found.append(EncodedPair(*both))
    if not found:
        raise ValueError(
            f"{paths}: there is no pair to learn from: {n_equal} have two equal answers, {n_long} "
            f"do not fit into {max_tokens} tokens, {len(bad)} lines are not pairs"
        )
    return Pairs(found, n_long, n_cut, n_equal, bad)


def encode(prompt: Conversation, answer: Message, renderer: Renderer) -> Encoded:
    """Ids and targets of a prompt and an answer."""
    given = renderer.prompt(prompt)
    whole = renderer.render(Conversation((*prompt.messages, answer)), None)
    counts = [*[0] * len(given), *whole.mask[len(given) :]]
    pairs = zip(whole.ids[1:], counts[1:], strict=True)
    return Encoded(whole.ids[:-1], [id_ if count else IGNORED for id_, count in pairs])


def _read(line: bytes, where: str) -> Pair:
    text = decode(line, where, "strict")
    try:
        return _pair(json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a pair: {error}") from None


def _pair(data: Any) -> Pair:
    if not isinstance(data, dict):
        raise TypeError(f"it is a {type(data).__name__}, not an object")
    for name in ("chosen", "rejected"):
        if name not in data:
            there = ", ".join(map(repr, data)) or "none"
            raise ValueError(f"there is no {name!r}; the keys are: {there}")
    prompt = data.get("prompt", data.get("messages"))
    if prompt is None:
        return _of_conversations(data)
    if isinstance(prompt, str):
        asked = Conversation((Message("user", prompt),))
    else:
        asked = Conversation.of(prompt)
    if asked.messages[-1].role != "user":
        raise ValueError("the prompt ends with a message of the assistant, and has no question")
    return Pair(asked, *(_answer(data[name], name) for name in ("chosen", "rejected")))


def _of_conversations(data: dict[str, Any]) -> Pair:
    both = [Conversation.of(data[name]) for name in ("chosen", "rejected")]
    prompts = [one.messages[:-1] for one in both]
    if prompts[0] != prompts[1] or any(one.messages[-1].role != "assistant" for one in both):
        raise ValueError(
            "without a prompt, chosen and rejected are conversations that differ in the "
            "assistant's last message alone"
        )
    return Pair(Conversation(prompts[0]), both[0].messages[-1], both[1].messages[-1])


def _answer(value: Any, name: str) -> Message:
    if isinstance(value, str):
        return Message("assistant", value)
    if isinstance(value, Sequence) and value and isinstance(value[0], dict) and "role" in value[0]:
        if len(value) != 1:
            raise ValueError(f"{name} has {len(value)} messages, and must be one")
        value = value[0]
    if isinstance(value, Sequence):  # parts
        value = {"role": "assistant", "content": value}
    try:
        message = Message.of(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if message.role != "assistant":
        raise ValueError(f"{name} is a message of the role {message.role!r}, not the assistant's")
    return message
