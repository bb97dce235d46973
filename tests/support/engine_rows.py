"""Rows of an engine, with all that was told of them, and weights for it."""

from bytemill.chat import Renderer
from bytemill.lm.engine.rows import Row
from bytemill.lm.generate.sampling import Sampling
from bytemill.lm.generate.weights import DecodingWeights
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model

RENDERER = Renderer(chat_tokenizer())
N_VOCAB = RENDERER.tokenizer.n_vocab
T = 64


def plain_weights():
    """Weights that are computed with as they are laid out, with a window, smear and the rest."""
    sizes = {"vocab_size": N_VOCAB, "context_length": T, "window": 9}
    return DecodingWeights(small_model("nanochat-2026", **sizes).eval())


class Asked:
    """A row with all that was told of it."""

    def __init__(self, machine, sampling, seed, most=None, **options):
        self.tokens, self.ends, self.most = [], [], most
        self.row = Row(
            machine,
            Sampling(**sampling),
            seed=seed,
            on_token=self.take,
            on_end=self.ends.append,
            **options,
        )

    def take(self, token):
        self.tokens.append(token)
        return len(self.tokens) != self.most

    @property
    def ids(self):
        return [token.id for token in self.tokens]
