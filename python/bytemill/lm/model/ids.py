"""Ids of a vocabulary: whether they are in it."""

from __future__ import annotations

import torch
from torch import Tensor


def check_range(ids: Tensor, vocab_size: int, name: str, remedy: str) -> None:
    """ValueError if an id is not from 0 up to `vocab_size`, where that can be seen at once.

    An accelerator would have to be waited for, and what is compiled has no values yet: there
    nothing is checked, and it is up to the operation that looks them up.

    Args:
        ids: Integers of any shape.
        vocab_size: V.
        name: What one of them is called.
        remedy: How the message ends.
    """
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return
    low, high = (int(end) for end in ids.aminmax())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"{name} {low if low < 0 else high} is not in the vocabulary: ids run from 0 to "
            f"{vocab_size - 1}; {remedy}"
        )
