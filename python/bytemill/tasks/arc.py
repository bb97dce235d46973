"""ARC: science questions of schools (Clark et al. 2018, https://arxiv.org/abs/1803.05457)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bytemill.chat.conversation import Message
from bytemill.tasks.choice import choice_item, judge_letter
from bytemill.tasks.rows import StrPath, rows
from bytemill.tasks.task import Item, Task, known_content


class Arc(Task):
    """ARC's questions; each has its own labels, mostly A to D.

    Args:
        folder: The dataset allenai/ai2_arc as published.
        subset: "ARC-Easy" or "ARC-Challenge".
        split: "train", "validation" or "test".

    Raises:
        FileNotFoundError: The files are not there; the message says how to get them.
    """

    kind = "categorical"
    baseline = 0.25

    def __init__(
        self,
        folder: StrPath,
        subset: Literal["ARC-Easy", "ARC-Challenge"] = "ARC-Easy",
        split: Literal["train", "validation", "test"] = "train",
    ) -> None:
        self.name = subset
        self._rows = rows(
            folder,
            [f"{subset}/{split}-*.parquet", f"{subset}/{split}.jsonl"],
            f"get it with: bytemill download hf:allenai/ai2_arc --out {folder}",
        )

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self._rows)

    def item(self, index: int) -> Item:
        """A question with its choices."""
        question, answer = self._rows.texts(index, "question", "answerKey")
        (choices,) = self._rows.get(index, "choices")
        if not isinstance(choices, dict) or not all(
            isinstance(choices.get(name), list) and all(isinstance(x, str) for x in choices[name])
            for name in ("text", "label")
        ):
            raise ValueError(
                f"{self._rows.files[0]}, row {index}: 'choices' is not an object with lists of "
                "texts, 'text' and 'label'"
            )
        return choice_item(question, choices["text"], choices["label"], answer)

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By the files' bytes."""
        return known_content(self, self._rows.content, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """1 for the right label."""
        return judge_letter(item, reply)
