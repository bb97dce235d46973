"""What is made small: a sum of losses over what counts in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.batches.rows import count_rows, tensors


class Objective(Protocol):
    """From batches to losses.

    A step's loss is the sum of `loss_sum` over all micro-batches of all ranks, divided by the sum
    of `count` over them: a mean over what counts, however unevenly that is spread.

    One whose rows are padded may have a method more, `tokens(batch)`: how many tokens are not
    padding, as `count` gives its number. The log and the speed are of them, then.
    """

    def count(self, batch: Any) -> Tensor:
        """How much counts in a batch, such as the targets that are not masked: a scalar without
        gradient, on the batch's device. It may be a sum of weights."""
        ...

    def loss_sum(self, batch: Any) -> Tensor:
        """The loss summed over what counts, a scalar with a gradient."""
        ...


class NextToken:
    """The next token's cross-entropy, over the targets that are not masked.

    Args:
        loss_sum: From ids and targets, (B, T) int64 each, targets -1 where they do not count, to
            their summed loss.
    """

    def __init__(self, loss_sum: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._loss_sum = loss_sum

    def count(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The targets that are not masked."""
        return (batch[1] != IGNORED).sum()

    def loss_sum(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Their summed loss."""
        return self._loss_sum(*batch)


class PaddedNextToken(NextToken):
    """The same of rows that end in padding, of which steps are not said to have been."""

    def tokens(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Those of the rows, masked ones included, up to the last target of each that counts."""
        return n_tokens(batch[1])


def n_tokens(targets: Tensor) -> Tensor:
    """How many tokens rows (R, T) have up to the last that counts, in all: a scalar."""
    places = torch.arange(1, targets.shape[1] + 1, device=targets.device)
    return ((targets != IGNORED) * places).amax(1).sum()


class MeanOverRows:
    """A loss that is a mean over a batch's rows, as most functions of torch return it.

    Args:
        loss: From a batch to its mean loss, a scalar.
    """

    def __init__(self, loss: Callable[[Any], Tensor]) -> None:
        self._loss = loss

    def count(self, batch: Any) -> Tensor:
        """Its rows."""
        return torch.tensor(count_rows(batch), device=next(tensors(batch)).device)

    def loss_sum(self, batch: Any) -> Tensor:
        """The mean times the rows."""
        return self._loss(batch) * count_rows(batch)
