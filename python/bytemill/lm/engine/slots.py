"""The keys and values of running rows: a slot each, those in use side by side from the first on.

So a step's keys are one piece of memory, and nothing is gathered for it. When a row leaves, the
last one moves into its slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.cache import KVCache


class Slots:
    """Room for rows.

    Args:
        weights: Of the model.
        n_slots: How many.
        max_length: The most tokens of a row.
    """

    def __init__(self, weights: DecodingWeights, n_slots: int, max_length: int) -> None:
        self._cache = KVCache(
            weights.config, n_slots, max_length, device=weights.device, dtype=weights.dtype
        )
        self._view: KVCache | None = None

    @property
    def n_bytes(self) -> int:
        """Of keys and values."""
        keys = self._cache.keys
        return 2 * keys.numel() * keys.element_size()

    def first(self, lengths: Sequence[int]) -> KVCache:
        """The first slots as a cache, with so many tokens in each."""
        view = self._view
        # The same one as long as it is right: what was prepared for it can be used again.
        if view is None or view.lengths != tuple(lengths):
            view = self._view = self._cache.part(0, len(lengths), lengths)
        return view

    def some(self, first: int, lengths: Sequence[int]) -> KVCache:
        """Slots from `first` on as a cache, with so many tokens in each."""
        return self._cache.part(first, first + len(lengths), lengths)

    def move(self, slot: int, to: int, length: int) -> None:
        """Copies the first `length` tokens of a slot into another."""
        keys, values, ids = self._cache.keys, self._cache.values, self._cache.ids
        for kept in (keys, values):
            kept[:, to, :, :length] = kept[:, slot, :, :length]
        if ids is not None:
            ids[to, :length] = ids[slot, :length]

    def copy(self, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """The keys and values of a slot's first `length` tokens, (n_layer, n_kv_head, T, d)."""
        keys, values = self._cache.keys, self._cache.values
        return keys[:, slot, :, :length].clone(), values[:, slot, :, :length].clone()

    def fill(self, slot: int, keys: Tensor, values: Tensor, ids: Sequence[int]) -> None:
        """Puts tokens into a slot: their keys and values, (n_layer, n_kv_head, T or more, d)."""
        n = len(ids)
        self._cache.keys[:, slot, :, :n] = keys[:, :, :n]
        self._cache.values[:, slot, :, :n] = values[:, :, :n]
        if self._cache.ids is not None:
            self._cache.ids[slot, :n] = torch.tensor(ids, device=keys.device)
