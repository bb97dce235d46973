"""Questions with answers to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from bytemill.chat.conversation import Conversation, Message
from bytemill.tasks.task import Item


def choice_item(question: str, choices: Sequence[str], letters: Sequence[str], answer: str) -> Item:
    """An item of a question whose answer is a letter.

    The wording is nanochat's. Each letter stands behind its choice and an equals sign, without a
    space, so that it is the token that the answer is.

    Raises:
        ValueError: Not one letter for each choice, or the answer is none of them.
    """
    if len(choices) != len(letters):
        raise ValueError(f"{len(letters)} letters for {len(choices)} choices: {question[:60]!r}")
    if answer not in letters:
        raise ValueError(
            f"the answer {answer!r} is none of {', '.join(letters)}: {question[:60]!r}"
        )
    lines = "".join(f"- {c}={letter}\n" for c, letter in zip(choices, letters, strict=True))
    asked = (
        f"Multiple Choice question: {question}\n{lines}\n"
        "Respond only with the letter of the correct answer."
    )
    conversation = Conversation((Message("user", asked), Message("assistant", answer)))
    return Item(conversation, answer, tuple(letters))


def judge_letter(item: Item, reply: Message) -> float:
    """1 if the reply is the right letter and nothing else."""
    return float(reply.text.strip() == item.answer)
