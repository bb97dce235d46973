"""A model that often calls the calculator."""

import torch

from bytemill.chat import Renderer
from tests.support.models import small_model


def calling_model(renderer: Renderer, context_length: int):
    """One whose head has a bias for the tokens that calls are made of."""
    n_vocab, special = renderer.tokenizer.n_vocab, renderer.special
    made = small_model("cs336", vocab_size=n_vocab + 7, context_length=context_length)
    bias = torch.full((n_vocab + 7,), -8.0)
    bias[list(b"0123456789")] = 0.0
    bias[list(b"+-*/")] = 0.5
    bias[special["<|python_start|>"]] = bias[special["<|python_end|>"]] = 1.5
    bias[special["<|assistant_end|>"]] = 0.3
    bias[n_vocab:] = 9.0  # ids that no text has
    head = torch.nn.Linear(made.config.d_model, len(bias))
    with torch.no_grad():
        head.weight.copy_(made.lm_head.weight)
        head.bias.copy_(bias)
    made.lm_head = head
    return made.eval().requires_grad_(False)
