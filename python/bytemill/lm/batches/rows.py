"""Batches of any shape, cut into rows: tensors, and tuples, lists and dicts of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors of a batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for part in batch.values():
            yield from tensors(part)
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from tensors(part)


def count_rows(batch: Any) -> int:
    """How many rows a batch has: the first dimension of its tensors, scalars left out.

    Raises:
        ValueError: It has none, or its tensors differ in them.
    """
    found = {len(tensor) for tensor in tensors(batch) if tensor.ndim}
    if len(found) != 1 or not max(found):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors(batch)) or "none"
        raise ValueError(
            f"a batch's tensors must have the same first dimension, its rows, at least 1; their "
            f"shapes are {shapes}"
        )
    return found.pop()


def take_rows(batch: Any, first: int, end: int) -> Any:
    """Rows `first` to `end` of a batch, in its own shape; what is not a tensor, and scalars, stay
    as they are."""
    if isinstance(batch, Tensor):
        return batch[first:end] if batch.ndim else batch
    if isinstance(batch, dict):
        return {name: take_rows(part, first, end) for name, part in batch.items()}
    if isinstance(batch, (list, tuple)):
        return _like(batch, [take_rows(part, first, end) for part in batch])
    return batch


def share_of(n: int, rank: int, size: int) -> range:
    """Which of a batch's `n` rows are a rank's: neighbours, the first ranks one more where they
    cannot be shared evenly.

    Args:
        n: Rows in the batch of all ranks together.
        rank: From 0 to size - 1.
        size: How many ranks there are.

    Raises:
        ValueError: There is no such rank, or not a row for each.
    """
    if not 0 <= rank < size:
        raise ValueError(f"rank={rank}: with size={size} ranks go from 0 to {size - 1}")
    if n < size:
        raise ValueError(
            f"batch_size={n}: {size} processes need a row each; give a batch_size of {size} or "
            "more, or start fewer processes"
        )
    each, more = divmod(n, size)
    start = rank * each + min(rank, more)
    return range(start, start + each + (rank < more))


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, (list, tuple)):
        return _like(batch, [to_device(part, device) for part in batch])
    return batch


def _like(batch: list[Any] | tuple[Any, ...], parts: list[Any]) -> Any:
    is_named = isinstance(batch, tuple) and hasattr(batch, "_fields")
    return type(batch)(*parts) if is_named else type(batch)(parts)
