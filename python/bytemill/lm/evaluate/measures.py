"""Figures made of a loss: perplexity and bits per byte."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from bytemill.tokenizer.tokenizer import Tokenizer


def perplexity(nll: float) -> float:
    """exp of the mean negative log-likelihood per token, in nats; inf where that overflows."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def bits_per_byte(nll_sum: float, n_bytes: int) -> float:
    """Bits that a model needs for each byte of text: the same measure for every vocabulary.

    Args:
        nll_sum: Negative log-likelihood, in nats, summed over all targets that are text.
        n_bytes: Bytes of these targets; see `token_bytes`.

    Raises:
        ValueError: There are no bytes.
    """
    if n_bytes < 1:
        raise ValueError(f"n_bytes={n_bytes}: bits per byte need text of at least one byte")
    return nll_sum / (math.log(2) * n_bytes)


def token_bytes(tokenizer: Tokenizer) -> Tensor:
    """The raw length of every token: (V,) int64, V being `tokenizer.n_vocab`.

    Special tokens, and ids that no token has, are 0: they are not text.
    """
    return torch.tensor(tokenizer.token_bytes(), dtype=torch.int64)
