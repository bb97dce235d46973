"""Who the assistant is: questions in many wordings, with a few answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from bytemill.chat.conversation import Conversation, Message
from bytemill.tasks.task import Item, Task, checked_size, known_content

WORDINGS: Final = (
    "Who are you?",
    "What are you?",
    "What is your name?",
    "Tell me who you are.",
    "Hi, who are you?",
    "Hello! What are you called?",
    "Introduce yourself.",
    "Please introduce yourself.",
    "Are you a person?",
    "Are you a language model?",
    "Who am I talking to?",
    "What kind of program are you?",
    "Who made you?",
    "Where do you come from?",
    "What can you do?",
    "What are you good at?",
    "hi",
    "Hello",
    "hey, who is this?",
    "Can you tell me your name?",
)
"""Wordings to train on."""
WORDINGS_HELD_OUT: Final = (
    "And who are you?",
    "What should I call you?",
    "Say something about yourself.",
    "Who is it that I am talking to?",
)
"""Wordings never to be trained on."""


class Identity(Task):
    """Asks who the assistant is; every answer has its name in it.

    Args:
        name: The assistant's.
        wordings: Of the question.
        size: How many items there are.
        seed: Item i depends on it and on i alone.
    """

    name = "identity"

    def __init__(
        self,
        name: str = "bytemill",
        wordings: Sequence[str] = WORDINGS,
        size: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        self._called, self._wordings, self._size, self._seed = (
            name,
            wordings,
            checked_size(size),
            seed,
        )

    def __len__(self) -> int:
        """As many as were asked for."""
        return self._size

    def item(self, index: int) -> Item:
        """A question about the assistant."""
        r = random.Random(f"{self.name} {self._seed} {index}")
        asked = r.choice(self._wordings)
        answer = (
            f"I am {self._called}, a small language model. "
            "I spell words, count letters and do sums."
        )
        reply = Message("assistant", answer)
        return Item(Conversation((Message("user", asked), reply)), self._called)

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By what decides items."""
        known_by = [self._called, self._wordings, self._seed]
        return known_content(self, known_by, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """1 if the name is in the reply."""
        return float(item.answer.lower() in reply.text.lower())
