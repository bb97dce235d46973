"""Conversations from files of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from bytemill.chat.conversation import Conversation
from bytemill.data.inputs import Paths, expand_inputs
from bytemill.data.readers import decode, read_lines


def read_conversations(
    paths: Paths, *, on_bad: Callable[[str], None] | None = None
) -> Iterator[Conversation]:
    """The conversations of files, a line each: {"messages": [...]}, or the list alone.

    Args:
        paths: Files, folders or globs, packed or not.
        on_bad: Called for a line that is not a conversation, with file, line and reason; it is
            passed over. None raises instead.

    Raises:
        FileNotFoundError: A path is not there.
        ValueError: A line is not a conversation; the message names file, line and reason.
    """
    for file in expand_inputs(paths):
        for number, line in enumerate(read_lines(file), 1):
            where = f"{file.path}:{number}"
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line or line.isspace():
                continue
            try:
                yield _conversation(line, where)
            except ValueError as error:
                if on_bad is None:
                    raise
                on_bad(str(error))


def _conversation(line: bytes, where: str) -> Conversation:
    text = decode(line, where, "strict")
    try:
        return Conversation.of(json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a conversation: {error}") from None
