"""FSDP2: weights, gradients and optimizer states shared out; no rank has all of a model.

torch's `fully_shard` (https://arxiv.org/abs/2304.11277) keeps of every weight a slice of its first
dimension on each rank, and gathers a layer while it is computed, forward and backward. Here its
gradients are sums, and the optimizers see plain tensors: AdamW those slices, and Muon, which needs
whole matrices, the ones that are dealt out to its rank as in ZeRO-2, put together for the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.checkpoint.state import Snapshot, pack_optimizers, snapshot_of
from bytemill.lm.distributed.group import Group
from bytemill.lm.distributed.layout import Bucket, rows_of_rank, share_out
from bytemill.lm.distributed.states import Share, collected, shared
from bytemill.lm.distributed.zero2 import clip_shared, kinds_of, trained
from bytemill.lm.model.transformer import Transformer

_METHODS: Final[dict[type[nn.Module], tuple[str, ...]]] = {Transformer: ("loss", "hidden")}
"""What of a model is called in training; of others `forward`."""


class Fsdp:
    """Shares weights, gradients and optimizer states out among ranks.

    The optimizers stay the same objects, and are used as before, as with `Zero2`; so does the
    model, whose layers must be called as modules: those in a `ModuleList` are gathered one by one,
    and all others together. Its state dict takes whole tensors, and gives slices.

    All ranks must make the same passes, forward and backward, of the same number of micro-batches.

    Args:
        model: Its parameters are the same on every rank.
        optimizers: Over all of its trainable parameters, with no state yet.
        group: The ranks.

    Raises:
        ValueError: As for `Zero2`; or torch is too old.
    """

    is_even = True

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer], group: Group) -> None:
        self._model, self._optimizers, self._group = model, list(optimizers), group
        parameters = trained(model, optimizers)
        kinds = kinds_of(parameters, optimizers)
        names = {id(weight): name for name, weight in model.named_parameters()}
        self._whole = _sharded(model, group)
        self._named: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
        self._weights: list[Any] = [self._named[names[id(weight)]] for weight in parameters]
        self._locals = [nn.Parameter(w.to_local().detach().view(-1)) for w in self._weights]
        model.register_load_state_dict_pre_hook(self._cut)  # type: ignore[no-untyped-call]
        buckets = share_out(kinds, group.size, bucket_numbers=1)
        for number, optimizer in enumerate(self._optimizers):
            dealt = [b for b in buckets if b.optimizer == number and kinds[_first(b)].is_whole]
            self._share_out(optimizer, {id(w): i for i, w in enumerate(parameters)}, dealt)

    def last_backward(self) -> None:
        """Nothing: gradients are summed in each backward pass."""

    def collect(self) -> list[bool]:
        """Which parameters had a gradient; the sums over ranks are there already."""
        return [weight.grad is not None for weight in self._weights]

    def reduce(self, used: Sequence[bool]) -> None:
        """Makes the sums the gradients of this rank's share."""
        for weight, local in zip(self._weights, self._locals, strict=True):
            local.grad = None if weight.grad is None else weight.grad.to_local().view(-1)

    def clip(self, max_norm: float) -> Tensor:
        """As `clip_gradients`, by the norm of all ranks' gradients."""
        return clip_shared(self._locals, max_norm, self._group)

    def clear(self) -> None:
        """Forgets all gradients, and what a validation has gathered."""
        self._whole.reshard()
        for weight, local in zip(self._weights, self._locals, strict=True):
            weight.grad = local.grad = None

    def snapshot(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> Snapshot:
        """Whole tensors on rank 0, in the CPU's memory; nothing on the others."""
        training: dict[str, Tensor] = {}
        optimizer = pack_optimizers(optimizers, training)
        self._whole.reshard()
        weights = {}
        for name, value in model.state_dict().items():
            weights[name] = self._gathered(value) if name in self._named else value
        if not self._group.is_first:
            return Snapshot({}, {}, None)
        return snapshot_of(weights, self._named, optimizer, training)

    def weight_bytes(self) -> int:
        """Of the weights that this rank keeps."""
        return sum(local.nbytes for local in self._locals)

    def _rows(self, n: int, rank: int) -> slice:
        return rows_of_rank(n, rank, self._group.size)

    def _cut(self, module: nn.Module, state: dict[str, Any], *_: Any) -> None:
        """Replaces the whole tensors of a state dict by this rank's slices."""
        from torch.distributed.tensor import DTensor

        for name, weight in self._named.items():
            whole = state.get(name)
            if not isinstance(whole, Tensor) or isinstance(whole, DTensor):
                continue
            rows = whole[self._rows(len(whole), self._group.rank)].to(weight.device, weight.dtype)
            state[name] = DTensor.from_local(
                rows, weight.device_mesh, weight.placements,
                run_check=False, shape=weight.shape, stride=weight.stride(),
            )  # fmt: skip

    def _gathered(self, weight: Any) -> Tensor:
        """All of a weight, on rank 0."""
        own: Tensor = weight.to_local().detach().cpu().contiguous()
        if not self._group.is_first:
            if own.numel():
                dist.send(own, 0)
            return own
        whole = torch.empty(weight.shape, dtype=own.dtype)
        whole[self._rows(len(whole), 0)] = own
        for rank in range(1, self._group.size):
            part = whole[self._rows(len(whole), rank)]
            if part.numel():
                dist.recv(part, rank)  # contiguous, as its first dimension is cut
        return whole

    def _share_out(
        self, optimizer: Optimizer, index: Mapping[int, int], dealt: Sequence[Bucket]
    ) -> None:
        """Puts this rank's share in the places of an optimizer's parameters."""
        whole = _Dealt(self._weights, self._locals, dealt, self._group)
        shares: list[list[Share | None]] = []
        for group in optimizer.param_groups:
            row: list[Share | None] = []
            own: list[nn.Parameter] = []
            for weight in group["params"]:
                number = index[id(weight)]
                shape, local = tuple(weight.shape), self._locals[number]
                if number in whole.parameters:
                    mine = whole.own.get(number)
                    share = (
                        Share(shape, 0, math.prod(shape), is_slice=False)
                        if mine is not None
                        else None
                    )
                    local = mine if mine is not None else local
                else:
                    rows, each = self._rows(len(weight), self._group.rank), math.prod(shape[1:])
                    share = Share(shape, rows.start * each, rows.stop * each, is_slice=True)
                    share = share if local.numel() else None
                row.append(share)
                if share is not None:
                    own.append(local)
            group["params"] = own
            shares.append(row)
        optimizer.register_state_dict_post_hook(
            lambda _, state: collected(state, shares, self._group)
        )
        optimizer.register_load_state_dict_pre_hook(lambda _, state: shared(state, shares))
        if dealt:
            optimizer.register_step_pre_hook(lambda *_: whole.put_together())
            optimizer.register_step_post_hook(lambda *_: whole.hand_back())


class _Dealt:
    """Whole matrices, each on the rank that it is dealt to, while the optimizer steps.

    Those of one bucket, one for each rank at most, are of one shape: every rank sends each of them
    its slice of that rank's matrix. Between steps nothing of this is kept.

    Args:
        weights: All of the model's, sharded.
        locals_: This rank's slices of them, with their gradients.
        buckets: A row of matrices each.
        group: The ranks.
    """

    def __init__(
        self,
        weights: Sequence[Any],
        locals_: Sequence[nn.Parameter],
        buckets: Sequence[Bucket],
        group: Group,
    ) -> None:
        self._weights, self._locals, self._buckets, self._group = weights, locals_, buckets, group
        self.parameters = frozenset(i for bucket in buckets for i in bucket.parameters)
        self.own = {
            piece.parameter: nn.Parameter(locals_[piece.parameter].new_empty(0))
            for bucket in buckets
            for piece in bucket.of_rank(group.rank)
        }
        """The optimizer's parameters, by number, which are empty between steps."""

    def put_together(self) -> None:
        """Gives this rank's matrices their weights and gradients."""
        for bucket in self._buckets:
            weight = self._exchanged(bucket, lambda local: local.detach())
            grad = self._exchanged(bucket, lambda local: local.grad)
            for piece in bucket.of_rank(self._group.rank):
                own, shape = self.own[piece.parameter], self._weights[piece.parameter].shape
                own.data = weight[: shape[0]].view(shape)
                has = self._weights[piece.parameter].grad is not None
                own.grad = grad[: shape[0]].view(shape) if has else None

    def hand_back(self) -> None:
        """Sends the new weights to the ranks that keep slices of them."""
        for bucket in self._buckets:
            buffer = self._buffer(bucket)
            for piece in bucket.of_rank(self._group.rank):
                own = self.own[piece.parameter]
                buffer.view(-1)[: own.numel()] = own.detach().reshape(-1)
                own.data, own.grad = own.data.new_empty(0), None
            back = torch.empty_like(buffer)
            dist.all_to_all_single(back, buffer)
            with torch.no_grad():
                for piece in bucket.pieces:
                    local = self._locals[piece.parameter]
                    local.copy_(back[piece.rank].view(-1)[: local.numel()])

    def _exchanged(self, bucket: Bucket, part: Callable[[Tensor], Tensor | None]) -> Tensor:
        """The rows of this rank's matrix, of what each rank has of it."""
        buffer = self._buffer(bucket)
        for piece in bucket.pieces:
            own = part(self._locals[piece.parameter])
            if own is not None:
                buffer[piece.rank].view(-1)[: own.numel()] = own.reshape(-1)
        found = torch.empty_like(buffer)
        dist.all_to_all_single(found, buffer)
        return found.flatten(0, 1)

    def _buffer(self, bucket: Bucket) -> Tensor:
        """Room for a slice for, or of, each rank: (ranks, rows, numbers in a row)."""
        some = self._weights[_first(bucket)]
        rows, size = some.shape[0], self._group.size
        width = some.numel() // rows
        return torch.zeros(size, -(-rows // size), width, dtype=some.dtype, device=some.device)


class _Whole(nn.Module):
    """The root that `fully_shard` knows, through which a model's own methods are called: the model
    itself gets no hooks, by which it would know that it is called otherwise."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.is_inside = False

    def forward(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What a method of the model's class gives."""
        return method(self.model, *args, **options)


class _Method:
    """A method of a model that begins with gathering what is not in a layer."""

    def __init__(self, whole: nn.Module, method: Callable[..., Any]) -> None:
        self._whole, self._method = whole, method

    def __call__(self, *args: Any, **options: Any) -> Any:
        whole: Any = self._whole
        if whole.is_inside:
            return self._method(whole.model, *args, **options)
        whole.is_inside = True
        try:
            return whole(self._method, *args, **options)
        finally:
            whole.is_inside = False


def _sharded(model: nn.Module, group: Group) -> Any:
    """Replaces a model's parameters by shares of them; returns the root."""
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        _ = FSDPModule.set_gradient_divide_factor, FSDPModule.set_force_sum_reduction_for_comms
    except (AttributeError, ImportError) as error:
        raise ValueError(
            f'shard="fsdp": torch {torch.__version__} has not all of FSDP2 ({error}); install a '
            'newer one, or use "zero2"'
        ) from None
    mesh = init_device_mesh(group.device.type, (group.size,))
    layers = [
        layer
        for module in reversed(list(model.modules()))
        if isinstance(module, nn.ModuleList)
        for layer in module
        if next(layer.parameters(), None) is not None
    ]
    whole = _Whole(model)
    units: list[Any] = [*layers, whole]
    for unit in units:
        fully_shard(unit, mesh=mesh)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    for name in _METHODS.get(type(model), ("forward",)):
        setattr(model, name, _Method(whole, getattr(type(model), name)))
    # What is gathered first in inference mode could not be used in training.
    for unit in units:
        unit.unshard()
        unit.reshard()
    return whole


def _first(bucket: Bucket) -> int:
    return bucket.pieces[0].parameter
