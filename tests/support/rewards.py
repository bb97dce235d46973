"""A task for tests of reinforcement learning, on which a model that knows nothing has successes."""

from bytemill.chat import Conversation, Message
from bytemill.tasks.task import Item, Task
from tests.support.chats import chat_tokenizer
from tests.support.lm_runs import tiny_model


class Lengths(Task):
    """Rewards the letters of a reply by their number, modulo 3."""

    name = "lengths"

    def __init__(self, size=20, asked="say {}"):
        self._size, self._asked = size, asked

    def __len__(self):
        return self._size

    def item(self, index):
        asked = Message("user", self._asked.format(index))
        return Item(Conversation((asked, Message("assistant", "yes"))), None)

    def judge(self, item, reply):
        return len(reply.text) % 3 / 2


def assistant(seed=0, **changes):
    """A small model of the tokenizer's size."""
    sizes = {"vocab_size": chat_tokenizer().n_vocab, "context_length": 32, "n_layer": 1}
    return tiny_model("gpt", seed, **{**sizes, **changes})
