"""Gradients of a batch, computed some rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bytemill.lm.batches.rows import count_rows, take_rows, tensors
from bytemill.lm.device import runtime
from bytemill.lm.train.steps.objective import Objective
from bytemill.lm.train.steps.world import ALONE, World


def accumulate(
    objective: Objective,
    batch: Any,
    rows: int,
    on_rows: Callable[[int, int], None] | None = None,
    world: World = ALONE,
) -> Tensor:
    """Adds the gradients of the mean loss over a batch, `rows` of its rows at a time.

    Each micro-batch's loss is divided by what counts in the whole batch, on all ranks, so that the
    result does not depend on `rows`, however unevenly masked targets are spread.

    Args:
        objective: What the loss is, and what counts.
        batch: This rank's rows.
        rows: Rows at a time; the last micro-batch may have fewer.
        on_rows: Called after each micro-batch with the rows done so far and those of the batch.
        world: The other ranks.

    Returns:
        The mean loss over what counts (0 if nothing does), a scalar without gradient: this rank's
        share of it.
    """
    counted = world.total(objective.count(batch))
    counted = counted.masked_fill(counted == 0, 1)
    total = torch.zeros((), device=counted.device)
    n_rows = count_rows(batch)
    for first in range(0, n_rows, rows):
        done = min(first + rows, n_rows)
        loss = objective.loss_sum(take_rows(batch, first, done)) / counted
        world.backward(loss, is_last=done == n_rows)
        total += loss.detach()
        if on_rows is not None:
            on_rows(done, n_rows)
    return total


class MicroBatches:
    """Runs `accumulate`, with fewer rows at a time when memory runs out, on all ranks alike.

    Args:
        objective: As for `accumulate`.
        model: Its gradients are cleared before another try.
        rows: To begin with; None for all of a batch.
        on_halved: Told the new number of rows.
        on_rows: As for `accumulate`.
        world: The other ranks.
    """

    def __init__(
        self,
        objective: Objective,
        model: torch.nn.Module,
        rows: int | None,
        on_halved: Callable[[int], None],
        on_rows: Callable[[int, int], None] | None = None,
        world: World = ALONE,
    ) -> None:
        self._objective, self._model, self._world = objective, model, world
        self._on_halved, self._on_rows = on_halved, on_rows
        self.rows = rows

    def gradients(self, batch: Any) -> Tensor:
        """Sets the gradients of the mean loss over a batch, and returns that loss.

        Raises:
            ValueError: A single row does not fit into memory.
        """
        while True:
            self._model.zero_grad(set_to_none=True)
            rows = count_rows(batch) if self.rows is None else self.rows
            loss = self._try(batch, rows)
            if not self._world.any(loss is None):
                break
            # Outside the except block: the error holds on to the activations of its frames.
            self.rows = (rows + 1) // 2
            loss = None
            self._model.zero_grad(set_to_none=True)
            runtime.free_memory(next(tensors(batch)).device)
            self._on_halved(self.rows)
        if loss is None:
            raise RuntimeError("the ranks do not agree on whether memory ran out")
        self._world.reduce(self._model.parameters())
        return self._world.total(loss)

    def tokens(self, batch: Any) -> int | None:
        """How many tokens all ranks' rows have, if the objective tells."""
        method = getattr(self._objective, "tokens", None)
        return None if method is None else int(self._world.total(method(batch)))

    def _try(self, batch: Any, rows: int) -> Tensor | None:
        """This rank's share of the loss; None where memory ran out."""
        try:
            return accumulate(self._objective, batch, rows, self._on_rows, self._world)
        except (RuntimeError, MemoryError) as error:
            if not runtime.is_out_of_memory(error):
                raise
            if rows == 1:
                first = next(tensors(batch))
                raise ValueError(
                    f"a single row of shape {tuple(first.shape[1:])} does not fit into the memory "
                    f"of {runtime.device_name(first.device)}; use shorter rows (context_length), a "
                    'smaller model, or dtype="bfloat16"'
                ) from error
            return None


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
