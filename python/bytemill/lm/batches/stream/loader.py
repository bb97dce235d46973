"""Batches of the rows of one source or of several, the same for any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from bytemill._arguments import check_integer
from bytemill.lm.batches.loaders import Batch
from bytemill.lm.batches.rows import share_of
from bytemill.lm.batches.stream.rows import Rows

_Ids = npt.NDArray[np.int64]


class _At(NamedTuple):
    batch: int
    rows: tuple[Any, ...]
    """A snapshot of each source."""


class StreamLoader:
    """Hands out batches; the next one is made in the background while this one is used.

    The sequence of all rows depends on the sources, the weights and the seed. A batch is the next
    `batch_size` of them; `next_share` gives a rank's part of it, the same rows side by side for any
    number of ranks, and a state saved on one number is loaded on any other. Each rank reads and
    encodes all text, as how many ids a document has decides where the rows after it begin; what a
    rank saves is building the others' rows, and of ids on disk reading them. An epoch over a corpus
    of text costs each rank the same encoding as one that is alone.

    Args:
        sources: Where rows come from.
        batch_size: Rows in a batch of all ranks together, B.
        weights: For several sources, the share of the rows that each gives; they need not sum to 1.
            Which source gives a row is drawn for each row.
        seed: Decides what is drawn.
        device: Where batches go.

    Raises:
        ValueError: A size is out of range, the sources' rows differ in length, or the weights are
            not positive numbers, one a source.
    """

    kind = "stream"

    def __init__(
        self,
        sources: Sequence[Rows],
        batch_size: int,
        *,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        if check_integer("batch_size", batch_size) < 1:
            raise ValueError(f"batch_size={batch_size}: it must be at least 1")
        if check_integer("seed", seed) < 0:
            raise ValueError(f"seed={seed}: it must be at least 0")
        self._sources, self._seed = tuple(sources), seed
        self._weights = _shares([1.0] * len(sources) if weights is None else weights, len(sources))
        lengths = {source.context_length for source in self._sources}
        if len(lengths) > 1:
            raise ValueError(
                f"context_length={sorted(lengths)}: the sources' rows differ in length"
            )
        self._batch_size, self._context_length = batch_size, lengths.pop()
        self._device = torch.device(device)
        self._worker: ThreadPoolExecutor | None = None
        self._next: tuple[range, Future[torch.Tensor]] | None = None
        """The rows that are being made."""
        self._is_ahead = False
        """Whether the sources have moved on without a batch that was handed out."""
        self._batch = 0
        self._at = self._snapshot()

    def next_batch(self) -> Batch:
        """The next batch on the loader's device: x and y, int64, (B, T).

        Raises:
            ValueError: A file is damaged, or was changed; there are no documents.
        """
        return self.next_share(0, 1)

    def next_share(self, rank: int, size: int) -> Batch:
        """A rank's rows of the next batch, as `share_of` cuts it: x and y, int64, (rows, T).

        Raises:
            ValueError: As for `next_batch`; there is no such rank, or not a row for each.
        """
        rows = share_of(self._batch_size, rank, size)
        if self._is_ahead or (self._next is not None and self._next[0] != rows):
            self.load_state_dict(self.state_dict())  # what has been made is not what is asked for
        both = (self._next[1] if self._next else self._ahead(rows)).result()
        self._at = self._snapshot()
        self._next = rows, self._ahead(rows)
        on_device = both.to(self._device, non_blocking=True)
        return on_device[0], on_device[1]

    def _ahead(self, rows: range) -> Future[torch.Tensor]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "bytemill-batches")
        return self._worker.submit(self._make, rows)

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins; fit for JSON, and the same on all ranks."""
        pairs = zip(self._sources, self._at.rows, strict=True)
        return {
            **self._settings(),
            "batch": self._at.batch,
            "sources": [source.to_json(rows) for source, rows in pairs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state_dict` was taken, on any rank.

        Raises:
            ValueError: The state is of other sources or settings, or damaged.
        """
        ours = {**self._settings(), "batch": 0, "sources": []}
        if set(state) != set(ours):
            names = ", ".join(sorted(set(state) ^ set(ours)))
            raise ValueError(f"the loader's state lacks or does not know: {names}")
        for name, value in self._settings().items():
            if state[name] != value:
                raise ValueError(
                    f"the loader's state has {name}={state[name]!r}, but this loader {value!r}: "
                    "resume with the data and settings of the run that saved it"
                )
        batch, saved = check_integer("batch", state["batch"]), state["sources"]
        if batch < 0 or not isinstance(saved, list) or len(saved) != len(self._sources):
            raise ValueError("the loader's state is damaged")
        if self._next is not None:
            self._next[1].exception()  # waits: it uses the sources
            self._next = None
        for source, one in zip(self._sources, saved, strict=True):
            source.load_state_dict(one)
        self._batch, self._is_ahead = batch, False
        self._at = self._snapshot()

    def close(self) -> None:
        """Ends the background threads; the next batch begins others."""
        if self._next is not None:
            self._next[1].exception()
            self._next, self._is_ahead = None, True
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
        for source in self._sources:
            source.close()

    def _settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "seed": self._seed,
            "batch_size": self._batch_size,
            "context_length": self._context_length,
            "weights": self._weights,
        }

    def _snapshot(self) -> _At:
        return _At(self._batch, tuple(source.snapshot() for source in self._sources))

    def _make(self, rows: range) -> torch.Tensor:
        """Some rows of the next batch, x and y: (2, rows, T)."""
        both: _Ids = np.empty((2, len(rows), self._context_length), np.int64)
        for number, source in enumerate(self._drawn()):
            if number in rows:
                x, y = both[:, number - rows.start]
                source.fill(x, y)
            else:
                source.skip()
        self._batch += 1
        made = torch.from_numpy(both)
        return made.pin_memory() if self._device.type == "cuda" else made

    def _drawn(self) -> list[Rows]:
        """Where each row of the batch comes from."""
        if len(self._sources) == 1:
            return [self._sources[0]] * self._batch_size
        random = np.random.default_rng([self._seed, self._batch])
        drawn = random.choice(len(self._sources), self._batch_size, p=self._weights)
        return [self._sources[i] for i in drawn.tolist()]


def _shares(weights: Sequence[float], n: int) -> list[float]:
    if n < 1 or len(weights) != n:
        raise ValueError(f"weights={list(weights)!r}: there must be one for each of {n} sources")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"weights={list(weights)!r}: each must be a number above 0")
    total = math.fsum(weights)
    return [weight / total for weight in weights]
