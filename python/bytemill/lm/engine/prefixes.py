"""The keys and values of rows that have ended: what a conversation's next turn begins with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int64]


class Prefix(NamedTuple):
    """Tokens with their keys and values, (n_layer, n_kv_head, T, head_dim)."""

    ids: Ids
    keys: Tensor
    values: Tensor

    @property
    def n_bytes(self) -> int:
        """Of all."""
        return self.ids.nbytes + 2 * self.keys.numel() * self.keys.element_size()


class Prefixes:
    """Those used most recently, in a bounded memory; may be asked from any thread.

    Args:
        n_bytes: The most memory of keys and values; 0 keeps nothing.
    """

    def __init__(self, n_bytes: int) -> None:
        self._most, self._held = n_bytes, 0
        self._kept: OrderedDict[int, Prefix] = OrderedDict()
        self._next = 0
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """The memory in use."""
        return self._held

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, ids: Sequence[int] | Ids) -> tuple[Prefix | None, int]:
        """The one that has most of the first ids, and how many."""
        wanted = np.asarray(ids, dtype=np.int64)
        with self._lock:
            best, most = None, 0
            for key, prefix in self._kept.items():
                n = common(prefix.ids, wanted)
                if n > most:
                    best, most = key, n
            if best is None:
                return None, 0
            self._kept.move_to_end(best)
            return self._kept[best], most

    def keep(
        self, ids: Sequence[int], n_bytes: int, copy: Callable[[], tuple[Tensor, Tensor]]
    ) -> None:
        """Keeps tokens, unless they are kept already, or are more than there is room for.

        Args:
            ids: The tokens.
            n_bytes: Of their keys and values.
            copy: Gives keys and values; it is called only if they are to be kept.
        """
        if not len(ids) or n_bytes + 8 * len(ids) > self._most:
            return
        wanted = np.asarray(ids, dtype=np.int64)
        with self._lock:
            for key, prefix in list(self._kept.items()):
                n = common(prefix.ids, wanted)
                if n == len(wanted):
                    self._kept.move_to_end(key)
                    return
                if n == len(prefix.ids):  # the new one has all of it, and more
                    self._drop(key)
            while self._kept and self._held + n_bytes + wanted.nbytes > self._most:
                self._drop(next(iter(self._kept)))
        made = Prefix(wanted, *copy())
        with self._lock:
            self._kept[self._next] = made
            self._next += 1
            self._held += made.n_bytes

    def _drop(self, key: int) -> None:
        self._held -= self._kept.pop(key).n_bytes


def common(a: Ids, b: Ids) -> int:
    """How many ids two sequences begin with alike."""
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    first = int(differs.argmax()) if n else 0
    return first if n and differs[first] else n
