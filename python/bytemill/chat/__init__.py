"""Conversations: what they are made of, and how a model is given them.

`conversation` has messages and their parts; `read` reads them from files. `render` makes token ids
of them, with a mask of what a model is trained to write, and messages of what it wrote. `view`
shows ids and mask to people, and `template` is the same format for other programs.
"""

from bytemill.chat.conversation import Conversation, Message, Part
from bytemill.chat.read import read_conversations
from bytemill.chat.render import (
    MAX_TOKENS,
    SPECIAL_TOKENS,
    Cut,
    Rendered,
    Renderer,
    with_special_tokens,
)
from bytemill.chat.template import TEMPLATE, export
from bytemill.chat.view import to_html, to_terminal

__all__ = [
    "MAX_TOKENS",
    "SPECIAL_TOKENS",
    "TEMPLATE",
    "Conversation",
    "Cut",
    "Message",
    "Part",
    "Rendered",
    "Renderer",
    "export",
    "read_conversations",
    "to_html",
    "to_terminal",
    "with_special_tokens",
]
