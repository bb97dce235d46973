"""Batches of token ids: random windows, packed documents, and fixed ones for validation.

A batch is (x, y), each int64 of shape (B, T): y[i, j] is the id that follows x[i, j], or -1 where
the loss leaves it out. The loaders' batches depend on the seed and on how many came before, not on
time, threads or device, and `state_dict` tells where they are: after `load_state_dict` the next
batch is the one that would have come.

`next_share` makes a rank's rows of the next batch alone. Which rows there are does not depend on
how many ranks there are, and all of them move on alike, so that a state that one has saved is any
other's. What it saves: of random windows only this rank's are read; of packed documents only this
rank's tokens are read, while the lengths of all are looked at to know where its rows begin.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bytemill._arguments import check_integer
from bytemill.lm.batches.rows import share_of
from bytemill.lm.batches.tokens import Ids, Tokens, check_length

Batch = tuple[Tensor, Tensor]
_Rows = npt.NDArray[np.int64]
_State = dict[str, Any]

IGNORED: Final = -1
"""The target that counts for nothing."""
MOST_IDS: Final = 2**28
"""Of a batch, B T: more would only fill the memory."""


def get_batch(
    dataset: Ids,
    batch_size: int,
    context_length: int,
    device: str | torch.device,
    generator: torch.Generator | None = None,
) -> Batch:
    """Random windows of an array, and the same one token further on (CS336, section 5.1).

    Starts are uniform over all len(dataset) - context_length valid ones, and independent.

    Args:
        dataset: Token ids, shape (n,); may be memory-mapped.
        batch_size: Windows, B.
        context_length: Ids in a window, T.
        device: Where the batch goes.
        generator: For starts that can be repeated; torch's default one if None.

    Returns:
        x and y, int64, shape (B, T), with y[i, j] = x[i, j + 1].

    Raises:
        ValueError: The dataset has not context_length + 1 tokens, or a size is below 1, or there
            would be more than 2**28 ids.
    """
    tokens = Tokens.of(dataset, "dataset")
    _check_sizes(tokens, batch_size, context_length)
    n_starts = len(tokens) - context_length
    starts = torch.randint(n_starts, (batch_size,), generator=generator)
    rows = np.stack([tokens.window(start, context_length + 1) for start in starts.tolist()])
    ids = torch.from_numpy(rows).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def fixed_batches(
    tokens: Tokens, n_tokens: int, batch_size: int, context_length: int
) -> list[tuple[_Rows, _Rows]]:
    """Windows that are always the same, for validation, and do not overlap.

    There are n_tokens // T of them, one at least, or as many as the tokens have; they lie evenly
    over all tokens. Which they are does not depend on `batch_size`: the last batch may have fewer
    rows. Only where the text is shorter than a window, what is missing of it has targets of -1.

    Args:
        tokens: What to take them of.
        n_tokens: Targets in all batches together, at most.
        batch_size: Rows in a batch, B.
        context_length: Ids in a row, T.

    Returns:
        NumPy arrays x and y, int64, (B, T) each.

    Raises:
        ValueError: There are fewer than two tokens, or a size is below 1.
    """
    _check_positive(n_tokens=n_tokens, batch_size=batch_size, context_length=context_length)
    if len(tokens) < 2:
        raise ValueError(f"{tokens.source}: it has {len(tokens)} tokens; validation needs two")
    n_windows = max((len(tokens) - 1) // context_length, 1)
    taken = min(max(n_tokens // context_length, 1), n_windows)
    batches = []
    for first in range(0, taken, batch_size):
        rows = range(first, min(first + batch_size, taken))
        x = np.zeros((len(rows), context_length), np.int64)
        y = np.full((len(rows), context_length), IGNORED, np.int64)
        for row, window in enumerate(rows):
            start = window * n_windows // taken * context_length
            ids = tokens.window(start, context_length + 1)
            x[row, : len(ids) - 1] = ids[:-1]
            y[row, : len(ids) - 1] = ids[1:]
        batches.append((x, y))
    return batches


class _Loader:
    """Hands out batches, or a rank's rows of them; on CUDA the next ones are made and copied while
    these are used."""

    kind: str

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        context_length: int,
        seed: int,
        device: str | torch.device,
    ) -> None:
        _check_sizes(tokens, batch_size, context_length)
        self._tokens, self._batch_size, self._context_length = tokens, batch_size, context_length
        self._seed = check_integer("seed", seed)
        if self._seed < 0:
            raise ValueError(f"seed={seed}: it must be at least 0")
        self._device = torch.device(device)
        self._worker: ThreadPoolExecutor | None = None
        self._stream: torch.cuda.Stream | None = None
        self._next: tuple[range, Future[tuple[Tensor, _State, torch.cuda.Event]]] | None = None
        """The rows that are being made."""
        # Where the next batch that is handed out begins; what is being made is ahead of it.
        self._at: _State = {}

    def next_batch(self) -> Batch:
        """The next batch on the loader's device: x and y, int64, (B, T)."""
        return self.next_share(0, 1)

    def next_share(self, rank: int, size: int) -> Batch:
        """A rank's rows of the next batch, as `share_of` cuts it: x and y, int64, (rows, T).

        Raises:
            ValueError: There is no such rank, or a batch has not a row for each.
        """
        rows = share_of(self._batch_size, rank, size)
        if self._device.type != "cuda":
            x, y, self._at = self._make(self._at, rows)
            both = torch.from_numpy(np.stack([x, y])).to(self._device)
            return both[0], both[1]
        if self._next is None or self._next[0] != rows:
            self._next = rows, self._ahead(self._at, rows)
        both, self._at, copied = self._next[1].result()
        self._next = rows, self._ahead(self._at, rows)
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copied)
        # The memory was allocated on the side stream; it must not be used anew before this one
        # is done with it.
        both.record_stream(current)
        return both[0], both[1]

    def skip(self) -> None:
        """Moves on by a batch, of which no row is made."""
        *_, self._at = self._make(self._at, range(0))
        self._next = None

    def close(self) -> None:
        """Ends the background thread, if there is one; the next batch begins another."""
        if self._worker is not None:
            self._worker.shutdown()
            self._worker, self._next = None, None

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins; fit for JSON."""
        return {
            "kind": self.kind,
            "seed": self._seed,
            "batch_size": self._batch_size,
            "context_length": self._context_length,
            "n_tokens": len(self._tokens),
            "fingerprint": self._tokens.fingerprint,
            "content": self._tokens.content,
            **self._at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state_dict` was taken.

        Raises:
            ValueError: The state is of a loader of another kind, seed or size, or of other tokens.
        """
        ours = self.state_dict()
        if set(state) != set(ours):
            names = ", ".join(sorted(set(state) ^ set(ours)))
            raise ValueError(f"the loader's state lacks or does not know: {names}")
        for name in (name for name in ours if name not in self._at):
            if name == "content" and state[name] != ours[name]:
                raise ValueError(
                    f"{self._tokens.source}: these are not the tokens of the loader's state: "
                    "they were changed, or are in another order; resume with the data of the "
                    "run that saved it, or begin a new run"
                )
            if state[name] != ours[name]:
                raise ValueError(
                    f"the loader's state has {name}={state[name]!r}, but this loader "
                    f"{ours[name]!r}: resume with the data and settings of the run that saved it"
                )
        at = {name: check_integer(name, state[name]) for name in self._at}
        self._check_position(at)
        self._at, self._next = at, None

    def _make(self, at: _State, rows: range) -> tuple[_Rows, _Rows, _State]:
        """Some rows of the batch at a position, and the position after all of it."""
        raise NotImplementedError

    def _check_position(self, at: _State) -> None:
        for name, value in at.items():
            if value < 0:
                raise ValueError(f"the loader's state has {name}={value}: it must be at least 0")

    def _ahead(self, at: _State, rows: range) -> Future[tuple[Tensor, _State, torch.cuda.Event]]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "bytemill-loader")
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return self._worker.submit(self._make_on_cuda, at, rows)

    def _make_on_cuda(self, at: _State, rows: range) -> tuple[Tensor, _State, torch.cuda.Event]:
        x, y, after = self._make(at, rows)
        # torch keeps pinned memory from being used anew until the copy from it is done.
        pinned = torch.from_numpy(np.stack([x, y])).pin_memory()
        with torch.cuda.stream(self._stream):
            both = pinned.to(self._device, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        return both, after, copied


class WindowLoader(_Loader):
    """Random windows, as `get_batch` takes them: uniform over all valid starts, independent.

    Args:
        tokens: What `open_tokens` opened.
        batch_size: Windows, B.
        context_length: Ids in a window, T.
        seed: Batches depend on it and their number alone.
        device: Where batches go.

    Raises:
        ValueError: There are not context_length + 1 tokens, or a size is out of range.
    """

    kind = "window"

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        context_length: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(tokens, batch_size, context_length, seed, device)
        self._at = {"batch": 0}

    def _make(self, at: _State, rows: range) -> tuple[_Rows, _Rows, _State]:
        random = np.random.default_rng([self._seed, at["batch"]])
        n_starts = len(self._tokens) - self._context_length
        starts = random.integers(n_starts, size=self._batch_size)[rows.start : rows.stop]
        length = self._context_length + 1
        made: _Rows = np.empty((len(rows), length), np.int64)
        for row, start in zip(made, starts, strict=True):
            row[:] = self._tokens.window(int(start), length)
        return made[:, :-1], made[:, 1:], {"batch": at["batch"] + 1}


class PackedLoader(_Loader):
    """Documents in random order, packed into rows that all begin with BOS.

    Each row is filled to the end; no token is lost and none is padding. A document that does not
    fit goes on in the next row, behind a BOS: that row's first target is -1, as no document begins
    so. An epoch goes through each document once, in an order of its own; then comes the next.

    Args:
        tokens: What `open_tokens` opened; each document begins with `bos_id`.
        batch_size: Rows, B.
        context_length: Ids in a row, T; at least 2.
        bos_id: The id that begins documents.
        seed: Decides the order.
        device: Where batches go.

    Raises:
        ValueError: A document does not begin with `bos_id`; there are not context_length + 1
            tokens; a size is out of range.
    """

    kind = "packed"

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        context_length: int,
        *,
        bos_id: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(tokens, batch_size, context_length, seed, device)
        if context_length < 2:
            raise ValueError(f"context_length={context_length}: packed rows need at least 2")
        self._bos_id = check_integer("bos_id", bos_id)
        self._starts = tokens.document_starts(self._bos_id)
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None
        # `offset` ids of the `document`th document of the epoch's order are used as targets.
        self._at = {"epoch": 0, "document": 0, "offset": 0}

    def _make(self, at: _State, rows: range) -> tuple[_Rows, _Rows, _State]:
        shape = len(rows), self._context_length + 1
        made, targets = np.empty(shape, np.int64), np.empty(shape, np.int64)
        for number in range(self._batch_size):
            begins, (spans, at) = at, self._spans(at)
            if number in rows:
                mine = number - rows.start
                self._fill(made[mine], targets[mine], spans, is_continued=begins["offset"] > 0)
        return made[:, :-1], targets[:, 1:], at

    def _spans(self, at: _State) -> tuple[list[tuple[int, int]], _State]:
        """Which tokens the row at a position takes, from where to where, and the position after
        it."""
        epoch, document, offset = at["epoch"], at["document"], at["offset"]
        spans, left = [], self._context_length + 1
        if offset > 0:
            # BOS, then the last id that was a target: it is given here, not asked for.
            left, offset = left - 1, offset - 1
        while left:
            which = self._document(epoch, document)
            start, end = int(self._starts[which]) + offset, int(self._starts[which + 1])
            taken = min(end - start, left)
            spans.append((start, start + taken))
            left, offset = left - taken, offset + taken
            if start + taken == end:
                document, offset = document + 1, 0
                if document == len(self._starts) - 1:
                    epoch, document = epoch + 1, 0
        return spans, {"epoch": epoch, "document": document, "offset": offset}

    def _fill(
        self, row: _Rows, target: _Rows, spans: list[tuple[int, int]], *, is_continued: bool
    ) -> None:
        filled = int(is_continued)
        row[:filled] = self._bos_id
        for start, stop in spans:
            row[filled : filled + stop - start] = self._tokens[start:stop]
            filled += stop - start
        target[:] = row
        if is_continued:
            target[1] = IGNORED

    def _document(self, epoch: int, position: int) -> int:
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng([self._seed, epoch])
            self._order = epoch, random.permutation(len(self._starts) - 1)
        return int(self._order[1][position])

    def _check_position(self, at: _State) -> None:
        super()._check_position(at)
        n = len(self._starts) - 1
        if at["document"] >= n:
            raise ValueError(
                f"the loader's state has document={at['document']}, but there are {n} documents"
            )
        which = self._document(at["epoch"], at["document"])
        length = int(self._starts[which + 1] - self._starts[which])
        if at["offset"] >= length:
            raise ValueError(
                f"the loader's state has offset={at['offset']} in a document of {length} tokens"
            )


def _check_sizes(tokens: Tokens, batch_size: int, context_length: int) -> None:
    _check_positive(batch_size=batch_size, context_length=context_length)
    check_length(tokens, context_length)
    if batch_size * context_length > MOST_IDS:
        raise ValueError(
            f"batch_size={batch_size} with context_length={context_length}: that is "
            f"{batch_size * context_length:,} ids; a batch has at most {MOST_IDS:,}"
        )


def _check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if check_integer(name, value) < 1:
            raise ValueError(f"{name}={value}: it must be at least 1")
