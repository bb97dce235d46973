"""SmolTalk: conversations of many kinds (Allal et al. 2025, https://arxiv.org/abs/2502.02737)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bytemill.chat.conversation import Conversation, Message
from bytemill.tasks.rows import StrPath, rows
from bytemill.tasks.task import Item, Task, known_content


class SmolTalk(Task):
    """SmolTalk's conversations: to train on, not to judge by.

    Args:
        folder: The dataset HuggingFaceTB/smol-smoltalk as published.
        split: "train" or "test".

    Raises:
        FileNotFoundError: The files are not there; the message says how to get them.
    """

    name = "SmolTalk"

    def __init__(self, folder: StrPath, split: Literal["train", "test"] = "train") -> None:
        self._rows = rows(
            folder,
            [f"data/{split}-*.parquet", f"data/{split}.jsonl"],
            f"get it with: bytemill download hf:HuggingFaceTB/smol-smoltalk --out {folder}",
        )

    def __len__(self) -> int:
        """How many conversations there are."""
        return len(self._rows)

    def item(self, index: int) -> Item:
        """A conversation."""
        (messages,) = self._rows.get(index, "messages")
        try:
            return Item(Conversation.of(messages), None)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self._rows.files[0]}, row {index}: {error}") from None

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By the files' bytes."""
        return known_content(self, self._rows.content, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """Raises TypeError: there is no right answer."""
        raise TypeError("SmolTalk's conversations cannot be judged; train on them only")
