"""`Ranks`: what a training loop does otherwise when it is one of several processes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.batches.rows import count_rows, take_rows
from bytemill.lm.checkpoint.state import NonFiniteStateError, Snapshot
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.distributed.fsdp import Fsdp
from bytemill.lm.distributed.group import Group
from bytemill.lm.distributed.layout import Shard
from bytemill.lm.distributed.zero2 import Zero2


class Sharding(Protocol):
    """A way to share what is trained among ranks."""

    is_even: bool
    """Whether all ranks must make the same passes: of as many rows each, and to their end."""

    def last_backward(self) -> None:
        """The next backward pass is the step's last."""
        ...

    def collect(self) -> list[bool]:
        """Sums gradients over ranks, whatever backward passes have come to; returns which
        parameters had one here."""
        ...

    def reduce(self, used: Sequence[bool]) -> None:
        """Gives this rank's share the sums, of the parameters that had a gradient anywhere."""
        ...

    def clip(self, max_norm: float) -> Tensor:
        """Clips by the norm of all ranks' gradients, and returns it."""
        ...

    def clear(self) -> None:
        """Forgets all gradients."""
        ...

    def snapshot(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """Whole tensors on rank 0."""
        ...


class Ranks:
    """The `bytemill.lm.train.steps.world.World` of several processes.

    Each takes its rows of the same batch, so that a step's batch does not depend on how many there
    are. Checkpoints hold whole tensors, as one process writes them: a run may go on on another
    number of ranks.

    Args:
        group: The processes.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self.rank, self.size, self.leads = group.rank, group.size, group.is_first
        self.device = group.device
        self._sharding: Sharding | None = None
        self._used: list[bool] | None = None
        self._is_in_step = False
        self._step = 0
        self._seed: int | None = None

    def together(self) -> AbstractContextManager[None]:
        """If the block raises on one rank, it does on all."""
        return self._group.all_or_none()

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Checks that all ranks say the same; ValueError names what differs."""
        self._group.agree(facts)

    def prepare(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        batch_size: int | None = None,
        shard: Shard = "zero2",
    ) -> None:
        """Shares optimizers out among ranks, before they have any state; with "fsdp" the weights,
        too.

        Raises:
            ValueError: A batch has fewer rows than there are ranks, or the model cannot be shared.
        """
        if batch_size is not None:
            self._group.rows(batch_size)
        if shard == "fsdp":
            if batch_size is not None:
                self._check_even(batch_size)
            self._sharding = Fsdp(model, optimizers, self._group)
        else:
            self._sharding = Zero2(model, optimizers, self._group)

    def _check_even(self, batch_size: float) -> None:
        if batch_size % self.size:
            raise ValueError(
                f'batch_size={batch_size:g}: with shard="fsdp" {self.size} processes take as many '
                f'rows each; give a multiple of {self.size}, or use "zero2"'
            )

    def share(self, batch: Any) -> Any:
        """This rank's rows: neighbours, the first ranks one more where they do not divide."""
        self._begin_step()
        n = count_rows(batch)
        if self._shards.is_even:
            self._check_even(n)
        rows = self._group.rows(n)
        return take_rows(batch, rows.start, rows.stop)

    def draw(self, source: Any) -> Any:
        """This rank's rows of a source's next batch; it need not make the others."""
        if not hasattr(source, "next_share"):
            return self.share(source.next_batch())
        self._begin_step()
        batch = source.next_share(self.rank, self.size)
        if self._shards.is_even:
            n = count_rows(batch)
            total = int(self._group.sum(torch.tensor(n)))
            if total != n * self.size:
                self._check_even(total)
        return batch

    def _begin_step(self) -> None:
        self._shards.clear()
        self._is_in_step = True
        self._reseed()

    def _reseed(self) -> None:
        """Each rank drops other numbers out, and the same ones if the step is made again."""
        if self._seed is None:
            self._seed = torch.initial_seed()
        if not self.leads:
            mixed = random.Random(f"{self._seed} {self._step} {self.rank}")
            torch.manual_seed(mixed.getrandbits(63))
        self._step += 1

    def total(self, number: Tensor) -> Tensor:
        """A number, or several, summed over ranks."""
        return self._group.sum(number.detach().clone())

    def any(self, flag: bool) -> bool:
        """Whether a rank says yes."""
        if not self._is_in_step:
            return bool(self._group.sum(torch.tensor(float(flag))) > 0)
        if flag and self._shards.is_even:
            raise ValueError(
                f'memory ran out on rank {self.rank}: with shard="fsdp" rows cannot be halved '
                "while other ranks wait in the middle of a layer; resume with a smaller "
                "micro_batch_size"
            )
        # A rank whose memory ran out takes part in the sums that others have begun, too.
        used = self._shards.collect()
        said = self._group.sum(torch.tensor([float(flag), *map(float, used)])) > 0
        self._used = said[1:].tolist()
        return bool(said[0])

    def same(self, number: float) -> float:
        """Rank 0's number."""
        return self._group.first(number)

    def backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Goes backward; with the last micro-batch gradients travel as soon as they are there."""
        if is_last:
            self._shards.last_backward()
        torch.autograd.backward(loss)

    def reduce(self, parameters: Iterable[Tensor]) -> None:
        """Leaves each rank the summed gradients of its share."""
        if self._used is None:
            raise RuntimeError("reduce() comes after any(), which says whether memory ran out")
        self._shards.reduce(self._used)
        self._used, self._is_in_step = None, False

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """As `clip_gradients`, by the norm of all ranks' gradients."""
        return self._shards.clip(max_norm)

    def snapshot(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """Whole tensors on rank 0; what the others return is not to be used."""
        error: NonFiniteStateError | None = None
        result = Snapshot({}, {}, None)
        try:
            result = self._shards.snapshot(model, optimizers)
        except NonFiniteStateError as raised:
            error = raised
        told = [text for text in self._group.gather(None if error is None else str(error)) if text]
        if told:
            raise NonFiniteStateError(told[0]) from error
        return result

    def load(
        self, checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        """As `Checkpoint.load`; each rank keeps its part."""
        checkpoint.load(model, optimizers)
        self._step = checkpoint.step
        self._seed = None

    def begin(
        self, checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        """As `Checkpoint.begin`; each rank keeps its part."""
        checkpoint.begin(model, optimizers)

    @property
    def _shards(self) -> Sharding:
        if self._sharding is None:
            raise RuntimeError("nothing is shared out yet; call prepare()")
        return self._sharding
