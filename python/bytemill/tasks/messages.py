"""One's own conversations, from JSON lines."""

from __future__ import annotations

from collections.abc import Callable

from bytemill.chat.conversation import Message
from bytemill.chat.read import read_conversations
from bytemill.data.inputs import Paths
from bytemill.tasks.task import Item, Task


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

    def __len__(self) -> int:
        """How many conversations there are."""
        return len(self._conversations)

    def item(self, index: int) -> Item:
        """A conversation."""
        return Item(self._conversations[index], None)

    def judge(self, item: Item, reply: Message) -> float:
        """Raises TypeError: there is no right answer."""
        raise TypeError("conversations without a judge; train on them only")
