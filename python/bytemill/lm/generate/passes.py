"""`Passes`: a model's forward passes over a cache, by its modules or by weights laid out for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bytemill.lm.generate.one_row import OneRow
from bytemill.lm.generate.rows import Rows
from bytemill.lm.generate.weights import DecodingWeights, obstacle
from bytemill.lm.model.attention import growing
from bytemill.lm.model.cache import KVCache
from bytemill.lm.model.kernels import aside
from bytemill.lm.model.plain import hooked
from bytemill.lm.model.transformer import Transformer


class Passes:
    """Reads tokens into a cache, many of a row or one of each.

    Args:
        weights: Of the model, in decoding layout.
    """

    def __init__(self, weights: DecodingWeights) -> None:
        self._weights = weights
        self._row: tuple[KVCache, OneRow] | None = None
        self._calls_modules = True

    def look(self) -> None:
        """Looks at what has been done to the model's modules, which decides what computes."""
        weights = self._weights
        # What counts or records operations knows the modules' better.
        self._calls_modules = (
            weights.obstacle is not None or obstacle(weights.model) is not None or aside()
        )

    def read(self, ids: Tensor, cache: KVCache, lengths: Sequence[int] | None = None) -> Tensor:
        """Logits (B, V) after each row's last token of ids (B, T), by calling the model.

        Args:
            ids: (B, T) int64.
            cache: Of B rows; ids are added to it.
            lengths: How many of its T ids each row has, from the left; None: all.
        """
        weights, model = self._weights, self._weights.model
        new = [ids.shape[1]] * len(ids) if lengths is None else lengths
        with (
            growing(weights.device),
            torch.autocast(
                weights.device.type, weights.dtype, enabled=weights.dtype != weights.own_dtype
            ),
        ):
            # The logits of the last tokens are all that is wanted. A model that is more than its
            # parts, or that is watched, is asked for all.
            if type(model) is Transformer and hooked(model) is None:
                return model.logits(_last(model.hidden(ids, cache, lengths=lengths), lengths))
            expected = [before + n for before, n in zip(cache.lengths, new, strict=True)]
            out: Tensor = model(ids, cache, lengths=lengths)
            if list(cache.lengths) != expected:
                raise ValueError(
                    f"the {type(model).__name__} gave its cache to several calls of a Transformer, "
                    "or to none: wrap one Transformer that is called once"
                )
            return _last(out, lengths)

    def step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """Adds a token to each row.

        Args:
            tokens: (B,) int64, ids of the vocabulary.
            cache: Of B rows, each with room for one more.

        Returns:
            Logits of the tokens that follow, (B, V) fp32; the next step overwrites them.
        """
        weights = self._weights
        if self._calls_modules:
            return self.read(tokens[:, None], cache)
        is_one = cache.batch_size == 1
        if is_one and weights.dtype == torch.float32 and weights.device.type == "cpu":
            if self._row is None or self._row[0] is not cache:
                self._row = cache, OneRow(weights, cache)
            logits = self._row[1].step(tokens)
        else:
            self._row = None
            with growing(weights.device):
                logits = Rows(weights, cache).step(tokens)
        cap = weights.config.logit_softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def forget(self) -> None:
        """The cache's tensors are other ones now."""
        self._row = None


def _last(x: Tensor, lengths: Sequence[int] | None) -> Tensor:
    """Of (B, T, ...) each row's last place that is not padding, (B, ...)."""
    if lengths is None or min(lengths) == x.shape[1]:
        return x[:, -1]
    last = torch.tensor(lengths, device=x.device) - 1
    return x[torch.arange(len(lengths), device=x.device), last]
