"""`Decoder`: sequences that grow by a token at a time, their keys and values cached.

What the model does for thousands of tokens at once is, for one token a row, mostly reading weights
and calling kernels: so it does so with weights laid out for that, and with few operations. Logits
agree with the model's up to rounding (1e-5 of the largest in fp32). A model whose modules do more
than they were written to (see `bytemill.lm.generate.weights.obstacle`) is called for each token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bytemill.lm.generate.passes import Passes
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.arguments import check_range, integer, integers
from bytemill.lm.model.cache import KVCache


class Decoder:
    """Sequences that grow by a token at a time, their keys and values cached.

    Args:
        weights: Of the model, in decoding layout. What has been done to the model's modules since
            is looked at when prompts are read.
        max_length: The most tokens of a sequence; the context length if None.

    Raises:
        TypeError: `max_length` is not an integer.
        ValueError: `max_length` is above the context length, or below 1.
    """

    def __init__(self, weights: DecodingWeights, max_length: int | None = None) -> None:
        self._weights = weights
        length = weights.config.context_length if max_length is None else max_length
        length = integer("max_length", length)
        if not 1 <= length <= weights.config.context_length:
            raise ValueError(
                f"max_length={length}: it must be from 1 up to the model's context length, "
                f"{weights.config.context_length}"
            )
        self._max_length = length
        self._cache: KVCache | None = None
        self._passes = Passes(weights)

    @property
    def lengths(self) -> list[int]:
        """The tokens that each row holds."""
        return [] if self._cache is None else list(self._cache.lengths)

    @property
    def max_length(self) -> int:
        """The most tokens that a row can hold."""
        return self._max_length

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Starts again, with a row for each prompt.

        Args:
            prompts: Ids of the vocabulary, at least one and at most `max_length` each.

        Returns:
            Logits of the tokens that follow, (B, V) fp32.

        Raises:
            TypeError: An id is not an integer.
            ValueError: There is no prompt, one is empty or too long, or has an id that is not in
                the vocabulary (on the CPU).
        """
        prompts = [integers(f"prompts[{i}]", prompt) for i, prompt in enumerate(prompts)]
        lengths = [len(prompt) for prompt in prompts]
        if not lengths or not 1 <= min(lengths) <= max(lengths) <= self._max_length:
            raise ValueError(
                f"prompts of {lengths} tokens: each must have from 1 to {self._max_length}"
            )
        weights = self._weights
        self._passes.look()
        longest = max(lengths)
        padded = [[*prompt, *[prompt[0]] * (longest - len(prompt))] for prompt in prompts]
        ids = torch.tensor(padded, dtype=torch.int64, device=weights.device)
        self._cache = KVCache(
            weights.config,
            len(lengths),
            self._max_length,
            device=weights.device,
            dtype=weights.dtype,
        )
        return self._passes.read(ids, self._cache, lengths)

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keeps these rows, in this order; a row may come more than once."""
        if self._cache is not None:
            self._cache.select(rows)
            self._passes.forget()

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Adds a token to each row.

        Args:
            tokens: (B,) int64.

        Returns:
            Logits of the tokens that follow, (B, V) fp32; the next step overwrites them.

        Raises:
            TypeError: tokens are not integers.
            ValueError: A row is full, the number of rows is another, or a token is not in the
                vocabulary (on the CPU).
        """
        weights, cache, lengths = self._weights, self._cache, self.lengths
        if cache is None or tokens.shape != (len(lengths),):
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)}: expected ({len(lengths)},), one "
                "for each row"
            )
        if tokens.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"tokens of {tokens.dtype}: they must be int64")
        check_range(tokens, weights.config.vocab_size, "token", "is this the model's tokenizer?")
        if max(lengths) >= self._max_length:
            raise ValueError(
                f"a row holds {self._max_length} tokens, the most there is room for; start again "
                "with fewer of them, or stop"
            )
        return self._passes.step(tokens, cache)
