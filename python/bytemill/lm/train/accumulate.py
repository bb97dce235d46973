"""Gradients of a batch, computed some rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.device import runtime


def accumulate(
    loss_sum: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    rows: int,
    on_rows: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Adds the gradients of the mean loss over a batch, `rows` of its rows at a time.

    Each micro-batch's loss is divided by the number of targets in the whole batch, so that the
    result does not depend on `rows`, however unevenly masked targets are spread.

    Args:
        loss_sum: From ids and targets to their summed loss; a scalar.
        x: (B, T) ids.
        y: (B, T) targets, -1 where one does not count.
        rows: Rows at a time; the last micro-batch may have fewer.
        on_rows: Called after each micro-batch with the rows done so far and B.

    Returns:
        The mean loss over the targets that count (0 if none does), a scalar without gradient.
    """
    n_targets = (y != IGNORED).sum().clamp_min(1)
    total = torch.zeros((), device=x.device)
    done = 0
    for ids, targets in zip(torch.split(x, rows), torch.split(y, rows), strict=True):
        loss = loss_sum(ids, targets) / n_targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
        done += len(ids)
        if on_rows is not None:
            on_rows(done, len(x))
    return total


class MicroBatches:
    """Runs `accumulate`, with fewer rows at a time when memory runs out.

    Args:
        loss_sum: As for `accumulate`.
        model: Its gradients are cleared before another try.
        rows: To begin with.
        on_halved: Told the new number of rows.
        on_rows: As for `accumulate`.
    """

    def __init__(
        self,
        loss_sum: Callable[[Tensor, Tensor], Tensor],
        model: torch.nn.Module,
        rows: int,
        on_halved: Callable[[int], None],
        on_rows: Callable[[int, int], None] | None = None,
    ) -> None:
        self._loss_sum, self._model = loss_sum, model
        self._on_halved, self._on_rows = on_halved, on_rows
        self.rows = rows

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Sets the gradients of the mean loss over (x, y), and returns that loss.

        Raises:
            ValueError: A single row does not fit into memory.
        """
        while True:
            self._model.zero_grad(set_to_none=True)
            try:
                return accumulate(self._loss_sum, x, y, self.rows, self._on_rows)
            except (RuntimeError, MemoryError) as error:
                if not runtime.is_out_of_memory(error):
                    raise
                if self.rows == 1:
                    raise ValueError(
                        f"a single row of {x.shape[1]} tokens does not fit into the memory of "
                        f"{runtime.device_name(x.device)}; use a shorter context_length, a smaller "
                        'model, or dtype="bfloat16"'
                    ) from error
            # Outside the except block: the error holds on to the activations of its frames.
            self.rows = (self.rows + 1) // 2
            self._model.zero_grad(set_to_none=True)
            runtime.free_memory(x.device)
            self._on_halved(self.rows)


def default_rows(batch_size: int, most: int) -> int:
    """Rows at a time, at most `most`.

    A divisor of the batch, for micro-batches of one shape, if one is at least half of `most`; or
    else as many as make the micro-batches few and nearly equal.
    """
    most = max(min(most, batch_size), 1)
    divisor = max(n for n in range(1, most + 1) if batch_size % n == 0)
    if 2 * divisor >= most:
        return divisor
    return -(-batch_size // -(-batch_size // most))
