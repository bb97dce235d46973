"""One's own conversations, from JSON lines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from bytemill.chat.conversation import Message
from bytemill.chat.read import read_conversations
from bytemill.data.inputs import Paths
from bytemill.tasks.task import Item, Task, item_digest


class Messages(Task):
    """Conversations of JSON lines files: to train on, not to judge by.

    Args:
        paths: As `bytemill.chat.read_conversations` reads them.
        on_bad: Called for lines that are not conversations, which are passed over; None raises.

    Raises:
        FileNotFoundError: A path is not there.
        ValueError: A line is not a conversation.
    """

    name = "messages"

    def __init__(self, paths: Paths, *, on_bad: Callable[[str], None] | None = None) -> None:
        self._conversations = list(read_conversations(paths, on_bad=on_bad))
        self._digests: list[bytes] | None = None

    def __len__(self) -> int:
        """How many conversations there are."""
        return len(self._conversations)

    def item(self, index: int) -> Item:
        """A conversation."""
        return Item(self._conversations[index], None)

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By the conversations, each of which is hashed once."""
        if self._digests is None:
            self._digests = [item_digest(Item(one, None)) for one in self._conversations]
        own = self._digests
        digest = hashlib.sha256()
        for index in range(len(own)) if indices is None else indices:
            digest.update(own[index])
        return digest.hexdigest()

    def judge(self, item: Item, reply: Message) -> float:
        """Raises TypeError: there is no right answer."""
        raise TypeError("conversations without a judge; train on them only")
