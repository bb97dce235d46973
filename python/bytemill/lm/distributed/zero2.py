"""ZeRO-2: every rank has all weights, and gradients and optimizer states of its share of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.checkpoint.state import Snapshot, take_snapshot
from bytemill.lm.distributed.group import Group
from bytemill.lm.distributed.layout import BUCKET_NUMBERS, Bucket, Kind, Piece, share_out
from bytemill.lm.distributed.reduce import GradientReducer, part_of
from bytemill.lm.distributed.states import Share, collected, shared
from bytemill.lm.optim.adamw import AdamW

ELEMENTWISE: Final = (AdamW, torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
"""Optimizers that treat each number by itself: they get slices. All others get whole tensors."""


class Zero2:
    """Shares gradients and optimizer states out among ranks; the weights stay whole on each.

    The optimizers stay the same objects, and are used as before: `step()`, `param_groups`,
    `state_dict()`, which gives on rank 0 what it would give without ranks (all of them must call
    it), and `load_state_dict()`, which takes that on every rank. Their parameters become this
    rank's share: for optimizers in `ELEMENTWISE` a slice of each parameter, for others whole
    parameters, dealt out by shape. `step()` ends with the new weights on every rank.

    The gradients of a step are those of a sum over ranks: divide each loss by the number of targets
    of all of them. Before the step's last backward pass call `last_backward`, after it `collect`
    and `reduce`.

    Args:
        model: Its parameters are the same on every rank.
        optimizers: Over all of its trainable parameters, with no state yet.
        group: The ranks.
        bucket_numbers: Numbers that are sent together, roughly.

    Raises:
        ValueError: A trainable parameter is in no optimizer, or in two, or is not contiguous.
    """

    is_even = False

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        group: Group,
        *,
        bucket_numbers: int = BUCKET_NUMBERS,
    ) -> None:
        self._group, self._optimizers = group, list(optimizers)
        self._parameters = trained(model, optimizers)
        kinds = kinds_of(self._parameters, optimizers)
        self.buckets = share_out(kinds, group.size, bucket_numbers)
        self._reducer = GradientReducer(self._parameters, self.buckets, group.size)
        self._own: list[list[tuple[Piece, nn.Parameter]]] = [
            [(piece, self._shard(kinds[piece.parameter], piece)) for piece in b.of_rank(group.rank)]
            for b in self.buckets
        ]
        self._rows: list[Tensor] = []
        self._gathering: list[tuple[Bucket, Tensor, Any]] = []
        for number, optimizer in enumerate(self._optimizers):
            self._share_out(number, optimizer)

    def last_backward(self) -> None:
        """The next backward pass is the step's last: gradients are sent off as they come."""
        self._reducer.arm()

    def collect(self) -> list[bool]:
        """Sums the gradients over ranks; the parameters' own are gone then. Returns which
        parameters had one here."""
        self._rows = self._reducer.finish()
        return list(self._reducer.used)

    def reduce(self, used: Sequence[bool]) -> None:
        """Makes the sums the gradients of this rank's share.

        Args:
            used: Which parameters had a gradient on some rank. The others get none, and are left as
                they are, as optimizers do.
        """
        for own, row in zip(self._own, self._rows, strict=True):
            for piece, shard in own:
                has = used[piece.parameter]
                shard.grad = part_of(row, piece).view(shard.shape) if has else None
        self._rows = []

    def clip(self, max_norm: float) -> Tensor:
        """As `clip_gradients`, by the norm of all ranks' gradients."""
        return clip_shared(self.shards(), max_norm, self._group)

    def clear(self) -> None:
        """Forgets all gradients, collected ones too."""
        self._rows = []
        for weight in self._parameters:
            weight.grad = None
        for own in self._own:
            for _, shard in own:
                shard.grad = None

    def snapshot(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """Whole tensors on rank 0; what the others return is not to be used."""
        return take_snapshot(model, optimizers)

    def shards(self) -> list[nn.Parameter]:
        """This rank's share: parameters that share memory with the model's."""
        return [shard for own in self._own for _, shard in own]

    def state_bytes(self) -> int:
        """Of the optimizers' states, on this rank."""
        return sum(
            value.numel() * value.element_size()
            for optimizer in self._optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        )

    def _shard(self, kind: Kind, piece: Piece) -> nn.Parameter:
        weight = self._parameters[piece.parameter]
        if kind.is_whole:
            return weight
        return nn.Parameter(weight.detach().view(-1)[piece.start : piece.stop])

    def _share_out(self, number: int, optimizer: Optimizer) -> None:
        """Puts this rank's shards in the places of an optimizer's parameters."""
        shards = {
            piece.parameter: (piece, shard)
            for bucket, own in zip(self.buckets, self._own, strict=True)
            if bucket.optimizer == number
            for piece, shard in own
        }
        index = {id(weight): i for i, weight in enumerate(self._parameters)}
        shares: list[list[Share | None]] = []
        for group in optimizer.param_groups:
            row: list[Share | None] = []
            local: list[nn.Parameter] = []
            for weight in group["params"]:
                found = shards.get(index[id(weight)])
                if found is None:
                    row.append(None)
                    continue
                piece, shard = found
                row.append(Share(tuple(weight.shape), piece.start, piece.stop, shard is not weight))
                local.append(shard)
            group["params"] = local
            shares.append(row)
        optimizer.register_state_dict_post_hook(
            lambda _, state: collected(state, shares, self._group)
        )
        optimizer.register_load_state_dict_pre_hook(lambda _, state: shared(state, shares))
        optimizer.register_step_post_hook(functools.partial(self._stepped, number))

    def _stepped(self, number: int, *_: object) -> None:
        """Sends off an optimizer's new weights; after the last one, waits for all of them."""
        with torch.no_grad():
            for bucket, own in zip(self.buckets, self._own, strict=True):
                if bucket.optimizer == number:
                    self._gathering.append(self._gather(bucket, own))
            if number < len(self._optimizers) - 1:
                return
            for bucket, rows, work in self._gathering:
                work.wait()
                for piece in bucket.pieces:
                    if piece.rank != self._group.rank:
                        flat = self._parameters[piece.parameter].view(-1)
                        flat[piece.start : piece.stop] = part_of(rows[piece.rank], piece)
        self._gathering.clear()

    def _gather(
        self, bucket: Bucket, own: list[tuple[Piece, nn.Parameter]]
    ) -> tuple[Bucket, Tensor, Any]:
        device = self._group.device
        row = torch.zeros(bucket.width, dtype=bucket.dtype, device=device)
        for piece, shard in own:
            part_of(row, piece).copy_(shard.reshape(-1))
        rows = torch.empty(self._group.size * bucket.width, dtype=bucket.dtype, device=device)
        work = dist.all_gather_into_tensor(rows, row, async_op=True)
        return bucket, rows.view(self._group.size, bucket.width), work


def clip_shared(shards: Sequence[Tensor], max_norm: float, group: Group) -> Tensor:
    """As `bytemill.lm.optim.clip.clip_gradients`, over the gradients of which each rank has a
    share."""
    grads = [shard.grad for shard in shards if shard.grad is not None]
    square = torch.zeros((), device=group.device)
    if grads:
        norms = [norm.float() for norm in torch._foreach_norm(grads)]
        square = torch.stack(norms).square().sum()
    total = group.sum(square).sqrt()
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor.to(grad.dtype))
    return total


def trained(model: nn.Module, optimizers: Sequence[Optimizer]) -> list[nn.Parameter]:
    """The trainable parameters, each once, in the model's order.

    Raises:
        ValueError: One is in no optimizer, or in two, or is not contiguous.
    """
    seen: dict[int, int] = {}
    for optimizer in optimizers:
        for weight in _parameters_of(optimizer):
            seen[id(weight)] = seen.get(id(weight), 0) + 1
    result = []
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        n = seen.pop(id(weight), 0)
        if n != 1:
            raise ValueError(
                f"{name}: it is in {n} optimizers, and each trainable parameter must be in one; "
                "add it to one, or set its requires_grad to False"
            )
        if not weight.is_contiguous():
            raise ValueError(
                f"{name}: its numbers are not contiguous in memory, so that ranks cannot share "
                "them; make the parameter of tensor.contiguous()"
            )
        result.append(weight)
    if seen:
        raise ValueError(f"{len(seen)} parameters of the optimizers are not the model's")
    return result


def kinds_of(parameters: Sequence[nn.Parameter], optimizers: Sequence[Optimizer]) -> list[Kind]:
    """What the layout must know of each parameter."""
    owner = {id(w): n for n, o in enumerate(optimizers) for w in _parameters_of(o)}
    return [
        Kind(tuple(w.shape), w.dtype, number, type(optimizers[number]) not in ELEMENTWISE)
        for w in parameters
        for number in (owner[id(w)],)
    ]


def _parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]
