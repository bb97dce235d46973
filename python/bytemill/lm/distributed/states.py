"""Optimizer states: whole ones made of every rank's share, and shares of whole ones.

A state dict numbers the parameters of all groups in a row. On a rank it knows those of which the
rank has a share; a whole one, as it is saved, knows all of them, and does not tell of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bytemill.lm.distributed.group import Group

_State = dict[str, Any]
_COUNTER = "step"
"""Of steps; torch's own state dicts know it by that name, too. It may look like a parameter."""


@dataclass(frozen=True)
class Share:
    """What a rank has of a parameter: its numbers from `start` to `stop`, flat."""

    shape: tuple[int, ...]
    """Of the whole parameter."""
    start: int
    stop: int
    is_slice: bool
    """Whether it is one by its kind, so that states of the parameter's shape are cut as it is."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor that is sent by itself: its place, and how it looks."""

    shape: tuple[int, ...]
    dtype: torch.dtype


Shares = Sequence[Sequence[Share | None]]
"""By group and parameter; None where the rank has nothing of it."""


def shared(whole: _State, shares: Shares) -> _State:
    """A rank's state dict, of a whole one.

    Raises:
        ValueError: The whole one has other parameter groups.
    """
    groups = whole["param_groups"]
    if [len(group["params"]) for group in groups] != [len(row) for row in shares]:
        raise ValueError(
            "the saved state is of an optimizer with other parameter groups; make the optimizers "
            "as for the run that saved it"
        )
    state: dict[int, Any] = {}
    local_groups = []
    number = 0
    for group, row in zip(groups, shares, strict=True):
        first = number
        for index, share in zip(group["params"], row, strict=True):
            if share is None:
                continue
            if index in whole["state"]:
                values = whole["state"][index]
                state[number] = {name: _cut(name, value, share) for name, value in values.items()}
            number += 1
        local_groups.append({**group, "params": list(range(first, number))})
    return {**whole, "state": state, "param_groups": local_groups}


def _cut(name: str, value: Any, share: Share) -> Any:
    if not share.is_slice or not isinstance(value, Tensor) or name == _COUNTER:
        return value
    if tuple(value.shape) != share.shape:
        return value
    return value.reshape(-1)[share.start : share.stop].clone()


def collected(local: _State, shares: Shares, group: Group) -> _State:
    """The whole state dict on rank 0, its tensors on the CPU where they came from elsewhere; one
    without state on the other ranks, all of which must call this."""
    groups: list[_State] = []
    numbers: list[Share | None] = []
    first = 0
    for one, row in zip(local["param_groups"], shares, strict=True):
        groups.append({**one, "params": list(range(first, first + len(row)))})
        first += len(row)
        numbers += row
    # Local numbers count those parameters of which there is a share.
    places = [index for index, share in enumerate(numbers) if share is not None]
    own = {places[number]: state for number, state in local["state"].items()}
    tensors: list[Tensor] = []
    told = [
        (index, numbers[index], {name: _outline(v, tensors) for name, v in state.items()})
        for index, state in own.items()
    ]
    everyone = group.gather(told)
    if not group.is_first:
        for tensor in tensors:
            dist.send(tensor.detach().cpu().contiguous(), 0)
        return {**local, "state": {}, "param_groups": groups}
    state: dict[int, Any] = {}
    for rank, outlines in enumerate(everyone):
        mine = iter(tensors)
        for index, share, outline in outlines:
            if share is None:
                continue
            parts = state.setdefault(index, {})
            for name, value in outline.items():
                if isinstance(value, _Tensor):
                    part = next(mine) if rank == 0 else _received(value, rank)
                    value = _placed(parts.get(name), part, share)
                parts[name] = value
    return {**local, "state": dict(sorted(state.items())), "param_groups": groups}


def _outline(value: Any, tensors: list[Tensor]) -> Any:
    """The value, or, in place of a tensor of some size, how it looks; it is sent by itself."""
    if not isinstance(value, Tensor):
        return value
    if value.ndim == 0:
        return value.detach().cpu()
    tensors.append(value)
    return _Tensor(tuple(value.shape), value.dtype)


def _received(outline: _Tensor, rank: int) -> Tensor:
    tensor = torch.empty(outline.shape, dtype=outline.dtype)
    dist.recv(tensor, rank)
    return tensor


def _placed(whole: Tensor | None, part: Tensor, share: Share) -> Tensor:
    """A part put into the whole tensor, which it makes if it is the first."""
    if not share.is_slice or tuple(part.shape) != (share.stop - share.start,):
        return part
    if whole is None:
        whole = torch.zeros(share.shape, dtype=part.dtype, device=part.device)
    whole.view(-1)[share.start : share.stop] = part.to(whole.device)
    return whole
