"""MMLU: 57 subjects (Hendrycks et al. 2021, https://arxiv.org/abs/2009.03300)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from bytemill.chat.conversation import Message
from bytemill.tasks.choice import choice_item, judge_letter
from bytemill.tasks.rows import StrPath, rows
from bytemill.tasks.task import Item, Task, known_content

LETTERS: Final = ("A", "B", "C", "D")


class Mmlu(Task):
    """MMLU's questions, four choices each; an item's `more` has its subject.

    Args:
        folder: The dataset cais/mmlu as published.
        split: "auxiliary_train" (what there is to train on), "validation", "dev" or "test".

    Raises:
        FileNotFoundError: The files are not there; the message says how to get them.
    """

    name = "MMLU"
    kind = "categorical"
    baseline = 0.25

    def __init__(
        self,
        folder: StrPath,
        split: Literal["auxiliary_train", "validation", "dev", "test"] = "auxiliary_train",
    ) -> None:
        names = [f"all/{split}-*.parquet", f"all/{split}.jsonl"]
        if split == "auxiliary_train":
            names = ["auxiliary_train/train-*.parquet", *names]
        self._rows = rows(
            folder, names, f"get it with: bytemill download hf:cais/mmlu --out {folder}"
        )

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self._rows)

    def item(self, index: int) -> Item:
        """A question with its choices."""
        row = self._rows[index]
        # The training questions are published as one column of records.
        inner = row.get("train")
        if isinstance(inner, dict):
            row = inner
        missing = [c for c in ("question", "choices", "answer") if c not in row]
        if missing:
            raise ValueError(f"{self._rows.files[0]}, row {index}: no column {missing[0]!r}")
        answer = row["answer"]
        if answer not in range(len(LETTERS)):
            raise ValueError(f"{self._rows.files[0]}, row {index}: the answer is {answer!r}")
        texts = [row["question"], *(row["choices"] or [])]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"{self._rows.files[0]}, row {index}: the question and its choices are not all text"
            )
        item = choice_item(row["question"], row["choices"], LETTERS, LETTERS[answer])
        return Item(item.conversation, item.answer, item.letters, {"subject": row.get("subject")})

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By the files' bytes."""
        return known_content(self, self._rows.content, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """1 for the right letter."""
        return judge_letter(item, reply)
