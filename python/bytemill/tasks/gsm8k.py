"""GSM8K: sums in words, with a calculator (Cobbe et al. 2021, https://arxiv.org/abs/2110.14168)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, Literal

from bytemill.chat.conversation import Conversation, Message, Part
from bytemill.tasks.rows import StrPath, rows
from bytemill.tasks.task import Item, Task, known_content

_CALL: Final = re.compile(r"<<([^<>]*)>>")
_FINAL: Final = re.compile(r"####[^\S\n]*(?:\*\*|\\boxed\{|=)?[^\S\n]*([^\n]*)")
_NUMBER: Final = re.compile(
    r"[-+\u2212]?\s*(?:[$£€¥]|USD)?\s*[-+\u2212]?([0-9][0-9,]*\.?[0-9]*|\.[0-9]+)"
)
_MOST_DIGITS: Final = 1000


class Gsm8k(Task):
    """GSM8K's questions; the calculations in an answer are calls of the calculator.

    Args:
        folder: The dataset openai/gsm8k as published, or a folder with train.jsonl and test.jsonl.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The files are not there; the message says how to get them.
    """

    name = "GSM8K"

    def __init__(self, folder: StrPath, split: Literal["train", "test"] = "train") -> None:
        self._rows = rows(
            folder,
            [f"main/{split}-*.parquet", f"main/{split}.jsonl", f"{split}.jsonl"],
            f"get it with: bytemill download hf:openai/gsm8k --out {folder}",
        )

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self._rows)

    def item(self, index: int) -> Item:
        """A question; its answer is a number."""
        question, answer = self._rows.texts(index, "question", "answer")
        number = final_number(answer)
        if number is None:
            raise ValueError(f"{self._rows.files[0]}, row {index}: no number after ####")
        reply = Message("assistant", parts_of(answer))
        return Item(Conversation((Message("user", question), reply)), number)

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By the files' bytes."""
        return known_content(self, self._rows.content, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """1 if the number after #### is the right one, however it is written."""
        return float(final_number(reply.text) == item.answer)


def parts_of(answer: str) -> tuple[Part, ...]:
    """An answer's text, with `<<expression=result>>` as a call of the calculator and its result.

    The result is what stands behind the last equals sign; without one it is a call without result.
    """
    parts: list[Part] = []
    at = 0
    for call in _CALL.finditer(answer):
        if call.start() > at:
            parts.append(Part("text", answer[at : call.start()]))
        expression, sign, result = call[1].rpartition("=")
        if sign:
            parts += [Part("python", expression), Part("python_output", result)]
        else:
            parts.append(Part("python", result))
        at = call.end()
    if at < len(answer):
        parts.append(Part("text", answer[at:]))
    return tuple(parts)


def final_number(text: str) -> Fraction | None:
    """The number after the last `####`, exactly; None if there is none.

    Currency signs before it, commas between thousands and words after it do not matter: 18, $18,
    18., 18.00, +18, 18 dollars and 18% are 18. A line with a second number, such as "18 or 19",
    3/4 or 1e5, is not an answer, nor is a number of more than 1,000 characters.
    """
    found = None
    for line in _FINAL.finditer(text):
        found = line[1]
    if found is None:
        return None
    found = found.strip()
    match = _NUMBER.match(found)
    if match is None or any(c.isnumeric() for c in found[match.end() :]):
        return None
    if len(match[1]) > _MOST_DIGITS:
        return None  # Python reads no number of thousands of digits
    value = Fraction(match[1].replace(",", "").rstrip("."))
    before = match[0][: match.start(1)]
    return -value if "-" in before or "\u2212" in before else value
