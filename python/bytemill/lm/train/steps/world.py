"""All that differs by rank, in one object: a run on one process is `Alone`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.checkpoint.state import Snapshot, take_snapshot
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.distributed.layout import Shard
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.train.steps.source import Source


class World(Protocol):
    """The processes that train one model together.

    Every rank calls each of the methods below the properties, and in the same order: the loop sees
    to that. What is told, logged and written is told, logged and written by the one that leads.
    """

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this one tells, logs and writes."""
        ...

    @property
    def device(self) -> torch.device | None:
        """What this rank computes on; None for what the configuration says."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """If the block raises on one rank, it does on all. No other method is called in it, except
        those for setting up: `prepare` and `load`."""
        ...

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Raises ValueError unless all ranks say the same; it names the fact and the rank."""
        ...

    def prepare(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        batch_size: int | None = None,
        shard: Shard = "zero2",
    ) -> None:
        """Shares the optimizers out, before they have any state; with "fsdp" the model, too."""
        ...

    def share(self, batch: Any) -> Any:
        """This rank's rows of a step's batch, which is the same on all ranks."""
        ...

    def draw(self, source: Source) -> Any:
        """This rank's rows of a step's batch, of the source's `next_share` if it has one."""
        ...

    def total(self, number: Tensor) -> Tensor:
        """A number, or several, summed over ranks."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether a rank says yes: to stop, or because its memory ran out."""
        ...

    def same(self, number: float) -> float:
        """The leading rank's number, such as a duration that decides how many steps are left."""
        ...

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Adds a micro-batch's gradients to this rank's; with its last one of a step, they may
        begin to travel."""
        ...

    def reduce(self, parameters: Iterable[Tensor]) -> None:
        """Sums the gradients over ranks, after the last micro-batch of each."""
        ...

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Clips the summed gradients by the norm of all; returns that, as `clip_gradients`."""
        ...

    def snapshot(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """Whole tensors of weights and optimizers, as one process would have them, on the leading
        rank; what the others return is not used."""
        ...

    def load(
        self, checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        """As `Checkpoint.load`: each rank takes its part."""
        ...

    def begin(
        self, checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        """As `Checkpoint.begin`; without optimizers the weights alone."""
        ...


class Alone:
    """One process, which does and decides all."""

    rank: Final = 0
    size: Final = 1
    leads: Final = True
    device: Final = None

    def together(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Nothing."""

    def prepare(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        batch_size: int | None = None,
        shard: Shard = "zero2",
    ) -> None:
        """Nothing."""

    def share(self, batch: Any) -> Any:
        """All of it."""
        return batch

    def draw(self, source: Source) -> Any:
        """All of the next batch."""
        return source.next_batch()

    def total(self, number: Tensor) -> Tensor:
        """The number."""
        return number

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def same(self, number: float) -> float:
        """The number."""
        return number

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Goes backward."""
        torch.autograd.backward(loss)

    def reduce(self, parameters: Iterable[Tensor]) -> None:
        """Nothing."""

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """As `clip_gradients`."""
        return clip_gradients(parameters, max_norm)

    def snapshot(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """As `take_snapshot`."""
        return take_snapshot(model, optimizers)

    def load(
        self, checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        """As `Checkpoint.load`."""
        checkpoint.load(model, optimizers)

    def begin(
        self, checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        """As `Checkpoint.begin`."""
        checkpoint.begin(model, optimizers)


ALONE: Final = Alone()
