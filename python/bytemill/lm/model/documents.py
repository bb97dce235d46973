"""Attention within documents only, where rows hold several of them one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import torch
from torch import Tensor

from bytemill.lm.model.cache import sees


class Documents:
    """Where documents begin in rows.

    Positions go on over documents: with RoPE only distances count, so that a document's vectors are
    those that it has alone.

    Args:
        begins: (B, T) bool, True at the first token of each; what is before the first one of a row
            is a document, too.
    """

    def __init__(self, begins: Tensor) -> None:
        self.begins = begins
        self._number = begins.cumsum(1)
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None) -> Tensor:
        """Which tokens each one sees: (B, 1, T, T) bool, True for those of its own document up to
        itself, and of these the last `window` if that is not None."""
        if window not in self._masks:
            positions = torch.arange(self._number.shape[1], device=self._number.device)
            same = self._number[:, :, None] == self._number[:, None, :]
            self._masks[window] = (same & sees(positions, positions, window))[:, None]
        return self._masks[window]


_current: Final[ContextVar[Documents | None]] = ContextVar("documents", default=None)


def current() -> Documents | None:
    """Those of the rows that go through a model now; None if tokens see all that came before."""
    return _current.get()


@contextmanager
def within(documents: Documents | None) -> Iterator[None]:
    """Within the block, causal attention without a cache is within these documents only."""
    token = _current.set(documents)
    try:
        yield
    finally:
        _current.reset(token)
