"""`KVCache`: the keys and values of tokens already seen, so that decoding reads each token once."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from bytemill.lm.model.arguments import integer, integers, is_scalar
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
        TypeError: A size is not an integer.
        ValueError: A size is below 1, or `max_length` is above the context length.
    """

    keys: Tensor
    """(n_layer, B, n_kv_head, max_length, head_dim)"""
    values: Tensor
    """(n_layer, B, n_kv_head, max_length, head_dim)"""
    ids: Tensor | None
    """(B, max_length) int64; None unless a token's vector depends on the one before (smear)."""

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
        length, batch_size = integer("max_length", length), integer("batch_size", batch_size)
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
        self.ids = None
        if config.smear:
            self.ids = torch.zeros(batch_size, length, device=device, dtype=torch.int64)
        self._lengths = [0] * batch_size
        self._starts: Tensor | None = None  # the lengths, where the cache lies; None if not known

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
        self._lengths, self._starts = [0] * self.batch_size, None

    def truncate(self, lengths: int | Sequence[int]) -> None:
        """Forgets the tokens of each row after its first `lengths`.

        Raises:
            TypeError: A length is not an integer.
            ValueError: A row holds fewer, or the number of rows is another.
        """
        if is_scalar(lengths):
            rows = [integer("lengths", lengths)] * self.batch_size
        else:
            rows = integers("lengths", lengths)
        if len(rows) != self.batch_size:
            raise ValueError(f"lengths={rows}: expected one for each of {self.batch_size} rows")
        for row, (wanted, held) in enumerate(zip(rows, self._lengths, strict=True)):
            if not 0 <= wanted <= held:
                raise ValueError(f"row {row} holds {held} tokens and cannot be cut to {wanted}")
        self._lengths, self._starts = rows, None

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these rows, in this order; a row may come more than once.

        Raises:
            IndexError: There is no such row.
        """
        self._lengths, self._starts = [self._lengths[row] for row in rows], None
        index = torch.tensor(rows, device=self.keys.device)
        self.keys = self.keys.index_select(1, index)
        self.values = self.values.index_select(1, index)
        if self.ids is not None:
            self.ids = self.ids.index_select(0, index)

    def part(self, first: int, end: int, lengths: Sequence[int]) -> KVCache:
        """The rows from `first` up to `end` as a cache of their own, over the same memory.

        Args:
            first, end: Which rows.
            lengths: How many tokens each of them holds. What is counted in the part is not counted
                here, nor the other way round.

        Raises:
            ValueError: There are no such rows, or one is said to hold more than it can.
        """
        held = integers("lengths", lengths)
        is_there = 0 <= first < end <= self.batch_size and len(held) == end - first
        if not is_there or not all(0 <= n <= self.max_length for n in held):
            raise ValueError(
                f"rows from {first} up to {end} of {held} tokens: the cache has {self.batch_size} "
                f"rows of up to {self.max_length}"
            )
        part = KVCache.__new__(type(self))
        part.keys, part.values = self.keys[:, first:end], self.values[:, first:end]
        part.ids = None if self.ids is None else self.ids[first:end]
        part._lengths, part._starts = held, None
        return part

    def advance(self, new: Sequence[int]) -> None:
        """Counts tokens of each row, once all layers have stored their keys and values."""
        if self._starts is not None:
            same = len(set(new)) == 1
            # Where it lies: a tensor made here would have to be sent there.
            self._starts = self._starts + new[0] if same else None
        self._lengths = [n + more for n, more in zip(self._lengths, new, strict=True)]

    def starts(self) -> Tensor:
        """`lengths` as a tensor (B,) int64 where the cache lies."""
        if self._starts is None:
            self._starts = torch.tensor(self._lengths, device=self.keys.device)
        return self._starts

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


def sees(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """Which keys each query may look at: those up to its own position, the last `window` of them.

    Args:
        queries: Their positions, (..., T).
        keys: Their positions, (S,).
        window: None for all.

    Returns:
        (..., T, S) bool.
    """
    queries = queries[..., None]
    seen = keys <= queries
    return seen if window is None else seen & (keys > queries - window)


class Past(NamedTuple):
    """What the queries of a pass may look at in a layer."""

    keys: Tensor
    """(B, n_kv_head, S, head_dim)."""
    values: Tensor
    """(B, n_kv_head, S, head_dim)."""
    mask: Tensor | None
    """(B or 1, 1, T, S), True where a query may look; None for no mask."""
    causal: bool
    """Whether a query may look at what is before it, and nothing else is to be masked."""


class Place:
    """Where one forward pass writes into a cache, and what its queries may see.

    Modules call its methods through `uncompiled`.
    """

    positions: Tensor | int
    """Of the new tokens: the first if all rows agree, else (B, T)."""

    def __init__(self, cache: KVCache, length: int, new: Sequence[int]) -> None:
        self._cache, self._new, self._length = cache, new, length
        starts = cache._lengths
        self._least, self._end = min(starts), max(starts) + length
        self._start = starts[0] if len(set(starts)) == 1 else None
        self._masks: dict[int | None, Tensor] = {}
        self._layer = 0
        if self._start is not None:
            self.positions = self._start
            return
        device = cache.keys.device
        self.positions = cache.starts()[:, None] + torch.arange(length, device=device)
        self._rows = torch.arange(len(starts), device=device)[:, None]

    def store(self, keys: Tensor, values: Tensor, window: int | None = None) -> Past:
        """Keeps keys and values (B, T, n_kv_head, head_dim) of the next layer.

        Layers are told apart by the order in which they come, so that one module can be several.

        Args:
            keys, values: Of the new tokens.
            window: How many tokens a query sees, itself included; None for all.

        Returns:
            What the layer holds so far, as far as it is to be seen.

        Raises:
            ValueError: More layers come than the cache was made for.
        """
        layer, n_layer = self._layer, self._cache.keys.shape[0]
        if layer == n_layer:
            raise ValueError(
                f"the cache has room for {n_layer} layers, as the model's config says, but the "
                "model has more: make it from a config with as many"
            )
        self._layer += 1
        kept = self._cache.keys[layer], self._cache.values[layer]
        for whole, part in zip(kept, (keys, values), strict=True):
            if self._start is not None:
                whole.narrow(2, self._start, self._length).copy_(part.transpose(1, 2))
            else:
                whole.transpose(1, 2)[self._rows, self.positions] = part.to(whole.dtype)
        # Keys before every query's window are not read at all.
        first = 0 if window is None else max(0, self._least + 1 - window)
        k, v = (whole.narrow(2, first, self._end - first) for whole in kept)
        if self._start is not None:
            if self._length == 1:
                return Past(k, v, None, False)
            if self._start == 0 and (window is None or window >= self._length):
                return Past(k, v, None, True)
        return Past(k, v, self._mask(window, first), False)

    def _mask(self, window: int | None, first: int) -> Tensor:
        if window not in self._masks:
            device = self._cache.keys.device
            positions = self.positions
            if isinstance(positions, int):
                positions = torch.arange(positions, self._end, device=device)[None]
            keys = torch.arange(first, self._end, device=device)
            self._masks[window] = sees(positions, keys, window)[:, None]
        return self._masks[window]

    def remember(self, ids: Tensor) -> tuple[Tensor, Tensor] | None:
        """Keeps the new tokens' ids (B, T), for a model whose vectors depend on the one before.

        Not the vectors: of ids, those before any place are at hand after `KVCache.truncate`, too.

        Returns:
            The id before each row's first new one, (B, 1), and whether there is one, (B, 1) bool;
            None if no row has any.

        Raises:
            ValueError: The cache was made for a model that needs none.
        """
        kept = self._cache.ids
        if kept is None:
            raise ValueError("the cache keeps no ids; make it from the config of this model")
        if self._start is not None:
            kept[:, self._start : self._end] = ids
        else:
            kept[self._rows, self.positions] = ids.to(kept.dtype)
        if self._end == self._length:
            return None
        starts = self._cache.starts()[:, None]
        return kept.gather(1, (starts - 1).clamp(min=0)), starts > 0

    def rows_of(self, table: Tensor) -> Tensor:
        """The rows of a table (length, ...) for the new tokens: (T, ...), or (B, T, ...)."""
        if isinstance(self.positions, Tensor):
            return table[self.positions]
        return table[self.positions : self._end]

    def finish(self) -> None:
        """Counts the new tokens, once all layers have stored theirs."""
        self._cache.advance(self._new)


F = TypeVar("F", bound=Callable[..., Any])


def uncompiled(function: F) -> F:
    """A method of a cache, called as it is from within a compiled module.

    What it does depends on numbers that change with each pass, and for each of them the module
    would be compiled again.
    """
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # Only now: torch.compiler.disable imports the compiler, which takes longer than torch.
        nonlocal disabled
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if disabled is None:
            torch._dynamo.decorators.skip(call)
            disabled = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        return disabled(*args, **kwargs)

    return cast(F, call)
