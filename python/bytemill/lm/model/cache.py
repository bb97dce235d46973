"""`KVCache`: the keys and values of tokens already seen, so that decoding reads each token once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bytemill.lm.model.config import ModelConfig


class KVCache:
    """Keys and values of every layer, allocated once; rows may hold different numbers of tokens.

    `Transformer.forward` fills it. Keys are stored after RoPE, so a token's place is fixed once it
    is in.

    Args:
        config: Of the model.
        batch_size: B, the number of rows.
        max_length: The most tokens a row can hold; None is the model's context length.
        device: Where it lies.
        dtype: Of keys and values: the model's compute dtype.

    Raises:
        ValueError: A size is below 1, or `max_length` is above the context length.
    """

    keys: Tensor
    """(n_layer, B, n_kv_head, max_length, head_dim)"""
    values: Tensor
    """(n_layer, B, n_kv_head, max_length, head_dim)"""

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_length: int | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        length = config.context_length if max_length is None else max_length
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: it must be at least 1")
        if not 1 <= length <= config.context_length:
            raise ValueError(
                f"max_length={length}: it must be from 1 up to the model's context length, "
                f"{config.context_length}"
            )
        shape = (config.n_layer, batch_size, config.n_kv_head, length, config.head_dim)
        # Zeros: a masked place is multiplied by 0, and 0 * NaN is NaN.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self._lengths = [0] * batch_size

    @property
    def batch_size(self) -> int:
        """B, the number of rows."""
        return self.keys.shape[1]

    @property
    def max_length(self) -> int:
        """The most tokens a row can hold."""
        return self.keys.shape[3]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The tokens that each row holds now."""
        return tuple(self._lengths)

    def reset(self) -> None:
        """Forgets all tokens; the memory stays."""
        self._lengths = [0] * self.batch_size

    def truncate(self, lengths: int | Sequence[int]) -> None:
        """Forgets the tokens of each row after its first `lengths`.

        Raises:
            ValueError: A row holds fewer, or the number of rows is another.
        """
        rows = [lengths] * self.batch_size if isinstance(lengths, int) else list(lengths)
        if len(rows) != self.batch_size:
            raise ValueError(f"lengths={rows}: expected one for each of {self.batch_size} rows")
        for row, (wanted, held) in enumerate(zip(rows, self._lengths, strict=True)):
            if not 0 <= wanted <= held:
                raise ValueError(f"row {row} holds {held} tokens and cannot be cut to {wanted}")
        self._lengths = rows

    def place(self, batch_size: int, length: int, lengths: Sequence[int] | None = None) -> Place:
        """Where the next `length` tokens of each row go; for the model.

        Args:
            batch_size: Rows of the input.
            length: T, columns of the input.
            lengths: How many of its T tokens each row really has, from the left; the rest is
                padding. None: all.

        Raises:
            ValueError: The rows are not the cache's, or the tokens do not fit.
        """
        if batch_size != self.batch_size:
            raise ValueError(
                f"ids have {batch_size} rows, but the cache was made for {self.batch_size}"
            )
        new = [length] * batch_size if lengths is None else list(lengths)
        if len(new) != batch_size or not all(0 <= n <= length for n in new):
            raise ValueError(
                f"lengths={new}: expected {batch_size} numbers from 0 to {length}, the tokens of "
                "each row"
            )
        # Padding is written too, and must not run over the end.
        if (longest := max(self._lengths) + length) > self.max_length:
            raise ValueError(
                f"{length} more tokens make {longest}, but the cache holds {self.max_length} a "
                "row; make it longer (up to the context length), or drop tokens from the left and "
                "start again"
            )
        return Place(self, length, new)


class Place:
    """Where one forward pass writes into a cache, and what its queries may see."""

    def __init__(self, cache: KVCache, length: int, new: Sequence[int]) -> None:
        self._cache, self._new = cache, new
        starts = cache._lengths
        self._end = max(starts) + length
        device = cache.keys.device
        self.positions: Tensor | int
        """Of the new tokens: the first if all rows agree, else (B, T)."""
        self.causal = False
        """Whether a query may look at what is before it, and nothing else is to be masked."""
        self.mask: Tensor | None = None
        """(B or 1, 1, T, keys), True where a query may look; None for no mask."""
        self._start = starts[0] if len(set(starts)) == 1 else None
        if self._start is not None:
            self.positions = self._start
            if self._start == 0 or length == 1:
                self.causal = length > 1
                return
            first = torch.full((1,), self._start, device=device)
        else:
            first = torch.tensor(starts, device=device)
        positions = first[:, None] + torch.arange(length, device=device)
        if self._start is None:
            self.positions = positions
            self._rows = torch.arange(len(starts), device=device)[:, None]
        keys = torch.arange(self._end, device=device)
        self.mask = (keys <= positions[..., None])[:, None]

    def store(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps keys and values (B, T, n_kv_head, head_dim) of a layer.

        Returns:
            All keys and values of the layer so far, (B, n_kv_head, keys, head_dim).
        """
        kept = self._cache.keys[layer], self._cache.values[layer]
        for whole, part in zip(kept, (keys, values), strict=True):
            if self._start is not None:
                whole[:, :, self._start : self._end] = part.transpose(1, 2)
            else:
                whole.transpose(1, 2)[self._rows, self.positions] = part.to(whole.dtype)
        return kept[0][:, :, : self._end], kept[1][:, :, : self._end]

    def finish(self) -> None:
        """Counts the new tokens, once all layers have stored theirs."""
        lengths = self._cache._lengths
        self._cache._lengths = [n + new for n, new in zip(lengths, self._new, strict=True)]
