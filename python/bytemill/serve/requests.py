"""What is asked for, checked field by field."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bytemill.chat.conversation import Conversation
from bytemill.lm.engine.rows import MOST_TOP
from bytemill.lm.generate.sampling import SEEDS, Sampling
from bytemill.serve.errors import ApiError, invalid
from bytemill.serve.limits import Limits

# Fields of OpenAI's that change nothing here, or only with values other than these.
# The seeds that other programs read from JSON as they are.
_SEEDS_OF_JSON: Final = 2**53
_WITHOUT_EFFECT: Final = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
)
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "suffix": ("",),
    "best_of": (1,),
}


@dataclass(frozen=True)
class Defaults:
    """What holds where a request says nothing."""

    temperature: float = 0.6
    top_k: int | None = 50
    top_p: float | None = None


@dataclass(frozen=True)
class Asked:
    """What chat and completions have in common."""

    sampling: Sampling
    max_tokens: int | None
    n: int
    seed: int
    stop: tuple[str, ...]
    n_top: int | None
    """Alternatives to report with log-probabilities; None for no log-probabilities."""
    streams: bool
    with_usage: bool
    """Whether a stream ends with the number of tokens."""


@dataclass(frozen=True)
class ChatAsked:
    """A request for the next message of a conversation."""

    common: Asked
    conversation: Conversation
    with_parts: bool
    """Whether calls of the tool, and its results, are shown."""


@dataclass(frozen=True)
class TextAsked:
    """A request to continue texts, or ids."""

    common: Asked
    prompts: tuple[str | tuple[int, ...], ...]
    echo: bool


class Fields:
    """The fields of a body, each read once, with its check.

    Raises:
        ApiError: The body is not an object.
    """

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            raise invalid(None, f"the body is a {_kind(data)}, not an object", "invalid_type")
        self._left: dict[str, Any] = dict(data)

    def take(self, name: str) -> Any:
        """A field's value; None if it is not there."""
        return self._left.pop(name, None)

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number in a range."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(name, f"a {_kind(value)} where a number has to be", "invalid_type")
        if not math.isfinite(value) or not least <= value <= most:
            raise invalid(name, f"{_short(value)}: it must be from {least} to {most}")
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        """An integer in a range."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(name, f"a {_kind(value)} where an integer has to be", "invalid_type")
        if not least <= value <= most:
            raise invalid(name, f"{_short(value)}: it must be from {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false if it is not there."""
        value = self.take(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise invalid(name, f"a {_kind(value)} where true or false has to be", "invalid_type")
        return value

    def finish(self) -> None:
        """Refuses what is left, unless it changes nothing."""
        for name, value in self._left.items():
            if name in _WITHOUT_EFFECT or value is None:
                continue
            if name not in _NEUTRAL:
                raise invalid(name[:64], "there is no such field", "unknown_parameter")
            if value not in _NEUTRAL[name]:
                raise invalid(name, "it is not supported; leave it out", "unsupported_parameter")


def chat_asked(data: object, limits: Limits, defaults: Defaults) -> ChatAsked:
    """A body of /v1/chat/completions.

    Raises:
        ApiError: It is not allowed; the message names the field.
    """
    fields = Fields(data)
    messages = fields.take("messages")
    conversation = _conversation(messages, limits)
    with_parts = fields.flag("show_parts")
    has_logprobs = fields.flag("logprobs")
    n_top = fields.integer("top_logprobs", 0, MOST_TOP)
    if n_top is not None and not has_logprobs:
        raise invalid("top_logprobs", "it needs logprobs: true")
    longest = fields.integer("max_completion_tokens", 1, limits.tokens)
    common = _common(fields, limits, defaults, (n_top or 0) if has_logprobs else None, longest)
    return ChatAsked(common, conversation, with_parts)


def text_asked(data: object, limits: Limits, defaults: Defaults) -> TextAsked:
    """A body of /v1/completions.

    Raises:
        ApiError: It is not allowed; the message names the field.
    """
    fields = Fields(data)
    prompts = _prompts(fields.take("prompt"), limits)
    echo = fields.flag("echo")
    n_top = fields.integer("logprobs", 0, MOST_TOP)
    common = _common(fields, limits, defaults, n_top, None)
    if common.n * len(prompts) > limits.choices:
        raise invalid("prompt", f"{len(prompts)} prompts, n={common.n}: at most {limits.choices}")
    if common.max_tokens is None:
        common = Asked(**{**vars(common), "max_tokens": 16})  # as OpenAI has it
    return TextAsked(common, prompts, echo)


def _common(
    fields: Fields, limits: Limits, defaults: Defaults, n_top: int | None, longest: int | None
) -> Asked:
    temperature = fields.number("temperature", 0, limits.temperature)
    top_p = fields.number("top_p", 0, 1)
    if top_p == 0:
        raise invalid("top_p", "0: it must be above 0")
    top_k = fields.integer("top_k", 0, limits.top_k)
    sampling = Sampling(
        defaults.temperature if temperature is None else temperature,
        defaults.top_k if top_k is None else top_k or None,
        defaults.top_p if top_p is None else top_p,
    )
    max_tokens = fields.integer("max_tokens", 1, limits.tokens)
    n = fields.integer("n", 1, limits.choices) or 1
    seed = fields.integer("seed", -SEEDS, SEEDS - 1)
    stop = _stop(fields.take("stop"), limits)
    streams = fields.flag("stream")
    options = fields.take("stream_options")
    with_usage = False
    if options is not None:
        if not streams:
            raise invalid("stream_options", "it needs stream: true")
        inner = Fields(options) if isinstance(options, dict) else None
        if inner is None:
            raise invalid("stream_options", f"a {_kind(options)} where an object has to be")
        with_usage = inner.flag("include_usage")
        inner.flag("include_obfuscation")
        inner.finish()
    fields.take("model")  # looked at before
    fields.finish()
    return Asked(
        sampling,
        longest if max_tokens is None else max_tokens,
        n,
        # A new one each time, or "regenerate" would repeat itself.
        secrets.randbelow(_SEEDS_OF_JSON) if seed is None else seed % SEEDS,
        stop,
        n_top,
        streams,
        with_usage,
    )


def _stop(value: object, limits: Limits) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise invalid("stop", "it must be a string, or a list of strings", "invalid_type")
    if len(stops) > limits.stops:
        raise invalid("stop", f"{len(stops)} strings; at most {limits.stops}")
    for text in stops:
        if not 1 <= len(text) <= limits.stop_characters:
            raise invalid(
                "stop", f"a string of {len(text)} characters: from 1 to {limits.stop_characters}"
            )
    return tuple(stops)


def _conversation(messages: object, limits: Limits) -> Conversation:
    if messages is None:
        raise invalid("messages", "it is missing", "missing_required_parameter")
    if not isinstance(messages, list):
        raise invalid("messages", f"a {_kind(messages)} where a list has to be", "invalid_type")
    if len(messages) > limits.messages:
        raise invalid("messages", f"{len(messages)} of them; at most {limits.messages}")
    made, total = [], 0
    for number, message in enumerate(messages, 1):
        n = _characters(message)
        total += n
        if n > limits.message_characters:
            raise invalid(
                "messages",
                f"message {number} has {n:,} characters; at most {limits.message_characters:,}",
                "string_above_max_length",
            )
        made.append(_as_ours(message))
    if total > limits.characters:
        raise invalid(
            "messages",
            f"{total:,} characters in all; at most {limits.characters:,}",
            "string_above_max_length",
        )
    try:
        conversation = Conversation.of(made)
    except (TypeError, ValueError) as error:
        raise invalid("messages", str(error)) from None
    if conversation.messages[-1].role != "user":
        raise invalid("messages", "the last message must be the user's")
    return conversation


def _as_ours(message: object) -> Any:
    """A message without what other programs add to it."""
    if not isinstance(message, Mapping):
        return message
    known = {"role", "content", "parts", "name", "refusal", "annotations", "audio"}
    for name, value in message.items():
        if value and name not in known:
            raise invalid(
                f"messages.{str(name)[:64]}", "there is no such field", "unknown_parameter"
            )
    role = message.get("role")
    # OpenAI's newer name for it.
    given = {**message, "role": "system" if role == "developer" else role}
    if isinstance(message.get("parts"), list) and role == "assistant":
        given["content"] = message["parts"]
    return given


def _characters(message: object) -> int:
    if not isinstance(message, Mapping):
        return 0
    return sum(_length(message.get(name)) for name in ("content", "parts"))


def _length(content: object) -> int:
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        return 0
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    # A part is more than its text; none is free.
    return sum(1 + (len(text) if isinstance(text, str) else 0) for text in texts)


def _prompts(value: object, limits: Limits) -> tuple[str | tuple[int, ...], ...]:
    if value is None:
        raise invalid("prompt", "it is missing", "missing_required_parameter")
    several = value if isinstance(value, list) else [value]
    if several and all(_is_id(one) for one in several):
        several = [several]
    if not 1 <= len(several) <= limits.choices:
        raise invalid("prompt", f"{len(several)} prompts: from 1 to {limits.choices}")
    made: list[str | tuple[int, ...]] = []
    total = 0
    for one in several:
        if isinstance(one, str):
            made.append(one)
        elif isinstance(one, list) and all(_is_id(id_) for id_ in one):
            made.append(tuple(one))
        else:
            raise invalid("prompt", "it must be text, ids, or a list of these", "invalid_type")
        total += len(one)
    if total > limits.characters:
        raise invalid(
            "prompt",
            f"{total:,} characters or ids; at most {limits.characters:,}",
            "string_above_max_length",
        )
    for text in made:
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise invalid("prompt", f"a lone surrogate at {error.start}") from None
    return tuple(made)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_model(data: object, names: Callable[[str], bool]) -> None:
    """404 if a body asks for another model."""
    name = data.get("model") if isinstance(data, dict) else None
    if name is None:
        return
    if not isinstance(name, str):
        raise invalid("model", f"a {_kind(name)} where a name has to be", "invalid_type")
    if not names(name):
        raise ApiError(
            404, f"there is no model {name[:100]!r}", param="model", code="model_not_found"
        )


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _short(value: float) -> str:
    # Python refuses to write integers of thousands of digits.
    return str(value) if abs(value) < 1e300 else "a huge number"
