"""Conversations: who says what, in which parts, checked as they are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

Role = Literal["system", "user", "assistant"]
PartType = Literal["text", "python", "python_output"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
PART_TYPES: Final[tuple[PartType, ...]] = get_args(PartType)


@dataclass(frozen=True)
class Part:
    """A piece of what an assistant says: text, an expression for the tool, or what the tool said.

    Raises:
        TypeError: The text is not a str.
        ValueError: The type is unknown, or the text has a lone surrogate, which no UTF-8 can hold.
    """

    type: PartType
    text: str
    ids: tuple[int, ...] | None = field(default=None, compare=False)
    """The token ids that the text came from, if a model wrote it: often other ones than encoding
    the text gives. They are rendered instead of the text, so that a later turn shows the model what
    it wrote."""

    def __post_init__(self) -> None:
        if self.type not in PART_TYPES:
            raise ValueError(f"a part of type {self.type!r}: the types are {', '.join(PART_TYPES)}")
        _check_text(self.text, f"a part of type {self.type!r}")


@dataclass(frozen=True)
class Message:
    """What one side says at a time.

    The content of a system or user message is text. An assistant's is text, or parts: a
    "python_output" stands directly behind the "python" whose result it is.

    Raises:
        TypeError: The content is of another type.
        ValueError: The role is unknown, or parts are out of order.
    """

    role: Role
    content: str | tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r}: the roles are {', '.join(ROLES)}")
        if isinstance(self.content, str):
            _check_text(self.content, f"the {self.role} message")
            return
        if self.role != "assistant":
            raise TypeError(
                f"the {self.role} message's content is a {type(self.content).__name__}; only an "
                "assistant's message has parts, others have a str"
            )
        if not isinstance(self.content, tuple) or not all(
            isinstance(part, Part) for part in self.content
        ):
            raise TypeError("an assistant's content is a str or a tuple of Part")
        before = None
        for number, part in enumerate(self.content, 1):
            if part.type == "python_output" and before != "python":
                raise ValueError(
                    f'part {number} of the assistant\'s message is "python_output", but no '
                    '"python" stands before it'
                )
            before = part.type

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts; neighbouring texts that no model wrote are one."""
        if isinstance(self.content, str):
            return (Part("text", self.content),) if self.content else ()
        joined: list[Part] = []
        for part in self.content:
            last = joined[-1] if joined else None
            if last and last.type == part.type == "text" and last.ids is None and part.ids is None:
                joined[-1] = Part("text", last.text + part.text)
            elif part.text or part.type != "text":
                joined.append(part)
        return tuple(joined)

    @property
    def text(self) -> str:
        """What is said, without expressions and results of tools."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if part.type == "text")

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Message:
        """From {"role": ..., "content": ...}, where content is a str or a list of parts, each
        {"type": ..., "text": ...}.

        Raises:
            TypeError: Something is of another type than that.
            ValueError: A key is missing, or a value is not allowed; the message names it.
        """
        if not isinstance(message, Mapping):
            raise TypeError(f"a message is a {type(message).__name__}, not an object")
        role, content = (_get(message, key, "the message") for key in ("role", "content"))
        if not isinstance(role, str):
            raise TypeError(f"role {role!r}: it is not a str")
        if isinstance(content, str):
            return cls(cast(Role, role), content)
        if not isinstance(content, Sequence) or isinstance(content, bytes):
            raise TypeError(f"content is a {type(content).__name__}, not a str or a list of parts")
        parts = tuple(_part(part) for part in content)
        if role == "assistant":
            return cls("assistant", parts)
        # Other programs write a user's text as a list of texts.
        kinds = sorted({part.type for part in parts if part.type != "text"})
        if kinds:
            raise ValueError(
                f"the {role} message has a part of type {kinds[0]!r}; it can only be text"
            )
        return cls(cast(Role, role), "".join(part.text for part in parts))

    def to_dict(self) -> dict[str, Any]:
        """What `of` reads; without ids."""
        if isinstance(self.content, str):
            return {"role": self.role, "content": self.content}
        parts = [{"type": part.type, "text": part.text} for part in self.content]
        return {"role": self.role, "content": parts}


@dataclass(frozen=True)
class Conversation:
    """Messages in turn: perhaps one of the system, then the user and the assistant by turns.

    Raises:
        TypeError: A message is not a `Message`.
        ValueError: There is no message of a user, or roles are out of order; the message says
            which.
    """

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.messages, tuple) or not all(
            isinstance(message, Message) for message in self.messages
        ):
            raise TypeError("messages is not a tuple of Message; Conversation.of makes one")
        if not self.messages:
            raise ValueError("the conversation is empty: it needs a message of the user")
        for number, message in enumerate(self.messages, 1):
            turn = number - self.has_system
            expected: tuple[Role, ...] = ("user",) if turn % 2 else ("assistant",)
            if number == 1:
                expected = "system", "user"
            if message.role not in expected:
                raise ValueError(
                    f"message {number} is of the role {message.role!r}, where "
                    f"{' or '.join(map(repr, expected))} has to be: after one system message at "
                    "most, user and assistant take turns"
                )
        if len(self.messages) == self.has_system:
            raise ValueError("the conversation has only a system message: it needs one of the user")

    @property
    def has_system(self) -> bool:
        """Whether it begins with a system message."""
        return self.messages[0].role == "system"

    @classmethod
    def of(cls, messages: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> Conversation:
        """From a list of messages as `Message.of` reads them, or {"messages": that list}.

        Raises:
            TypeError: Something is of another type than that.
            ValueError: A message is not allowed, or not in its place; the message says which.
        """
        if isinstance(messages, Mapping):
            messages = _get(messages, "messages", "the conversation")
        if not isinstance(messages, Iterable) or isinstance(messages, (str, bytes, Mapping)):
            raise TypeError(f"messages is a {type(messages).__name__}, not a list")
        made = []
        for number, message in enumerate(messages, 1):
            try:
                made.append(Message.of(message))
            except (TypeError, ValueError) as error:
                raise type(error)(f"message {number}: {error}") from None
        return cls(tuple(made))

    def to_dict(self) -> dict[str, Any]:
        """What `of` reads; without ids."""
        return {"messages": [message.to_dict() for message in self.messages]}

    def but_last_reply(self) -> Conversation:
        """The same without the assistant's message at its end, if there is one."""
        if self.messages[-1].role != "assistant":
            return self
        return Conversation(self.messages[:-1])

    def then(self, role: Role, content: str | tuple[Part, ...]) -> Conversation:
        """The same with one more message."""
        return Conversation((*self.messages, Message(role, content)))


def _get(where: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in where:
        there = ", ".join(map(repr, where)) or "none"
        raise ValueError(f"{what} has no {key!r}; its keys are: {there}")
    return where[key]


def _part(part: object) -> Part:
    if not isinstance(part, Mapping):
        raise TypeError(f"a part is a {type(part).__name__}, not an object")
    kind, text = (_get(part, key, "the part") for key in ("type", "text"))
    return Part(kind, text)


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} has a {type(text).__name__} as its text, not a str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} has a lone surrogate at position {error.start}, {text[error.start]!r}; "
            "replace it"
        ) from None
