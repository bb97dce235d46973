"""Sums with the calculator: generated, seeded, endless."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from bytemill.chat.conversation import Conversation, Message, Part
from bytemill.tasks.task import Item, Task, checked_size, known_content
from bytemill.tasks.wordings import CLAUSES, NOUNS, ORDERS, QUESTIONS, distinct, framed
from bytemill.tools.calculator import calculate

_PLAIN: Final = (
    "What is {sum}?",
    "How much is {sum}?",
    "Calculate {sum}.",
    "Compute {sum}.",
    "{sum}",
    "{sum} = ?",
    "Please work out {sum}.",
    "What do you get for {sum}?",
    "What does {sum} come to?",
    "Can you work out {sum}?",
    "Tell me what {sum} is.",
    "I need the result of {sum}.",
    "What is the result of {sum}?",
    "Solve {sum}.",
    "Give me the value of {sum}.",
    "How much does {sum} make?",
    "{sum}, please.",
    "Do you know what {sum} is?",
)
WORDINGS: Final = distinct(
    _PLAIN,
    framed(
        ORDERS,
        (
            "calculate {sum}",
            "compute {sum}",
            "work out {sum}",
            "solve {sum}",
            "evaluate {sum}",
            "answer {sum}",
            "say what {sum} is",
            "work out what {sum} comes to",
            "write down the result of {sum}",
            "use the calculator on {sum}",
            "put {sum} into the calculator",
        ),
    ),
    framed(
        NOUNS,
        (
            "the result of {sum}",
            "the value of {sum}",
            "the answer to {sum}",
            "the number that {sum} makes",
            "{sum} as one number",
        ),
    ),
    framed(
        CLAUSES,
        (
            "what {sum} is",
            "how much {sum} is",
            "what {sum} comes to",
            "which number {sum} gives",
            "what the result of {sum} is",
        ),
    ),
    framed(
        QUESTIONS,
        (
            "what is {sum}",
            "how much is {sum}",
            "what do I get for {sum}",
            "what is the answer to {sum}",
            "which number is {sum}",
        ),
    ),
)
"""Wordings to train on."""
WORDINGS_HELD_OUT: Final = (
    "Could you tell me the value of {sum}?",
    "Work out {sum} for me.",
    "Find {sum}.",
    "What would {sum} be?",
)
"""Wordings never to be trained on."""


class Arithmetic(Task):
    """Asks for a sum, difference or product of whole numbers; the answer calls the calculator.

    Args:
        n_operands: How many numbers there are.
        largest: No number is above it.
        signs: What stands between them: of "+", "-" and "*".
        wordings: Of the question, with {sum}.
        size: How many items there are.
        seed: Item i depends on it and on i alone.

    Raises:
        ValueError: Fewer than two numbers, no sign or an unknown one, or a largest below 1.
    """

    name = "arithmetic"

    def __init__(
        self,
        n_operands: int = 2,
        largest: int = 999,
        signs: Sequence[str] = "+-*",
        wordings: Sequence[str] = WORDINGS,
        size: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        if n_operands < 2 or largest < 1:
            raise ValueError(
                f"n_operands={n_operands}, largest={largest}: at least 2 numbers, from 1 up"
            )
        if not signs or set(signs) - set("+-*"):
            raise ValueError(f"signs={signs!r}: they are of + - *")
        self._n, self._largest, self._signs = n_operands, largest, signs
        self._wordings, self._size, self._seed = wordings, checked_size(size), seed

    def __len__(self) -> int:
        """As many as were asked for."""
        return self._size

    def item(self, index: int) -> Item:
        """A sum; small numbers are as frequent as large ones are by their digits."""
        r = random.Random(f"{self.name} {self._n} {self._seed} {index}")
        digits = len(str(self._largest))
        numbers = [
            r.randint(0, min(10 ** r.randint(1, digits) - 1, self._largest)) for _ in range(self._n)
        ]
        written = str(numbers[0])
        for number in numbers[1:]:
            written += f" {r.choice(self._signs)} {number}"
        asked = r.choice(self._wordings).format(sum=written)
        expression = written.replace(" ", "")
        result = calculate(expression)
        parts = (
            Part("python", expression),
            Part("python_output", result),
            Part("text", f"It is {result}."),
        )
        return Item(Conversation((Message("user", asked), Message("assistant", parts))), result)

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By what decides items."""
        known_by = [self._n, self._largest, self._signs, self._wordings, self._seed]
        return known_content(self, known_by, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """1 if the last number in the text is the right one."""
        numbers = re.findall(r"-?\d+(?:\.\d+)?", reply.text)
        return float(bool(numbers) and numbers[-1] == item.answer)
