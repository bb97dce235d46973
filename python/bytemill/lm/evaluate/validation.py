"""Loss and bits per byte on batches that never change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.evaluate.measures import bits_per_byte

if TYPE_CHECKING:
    from bytemill.lm.model.transformer import Transformer

Batches: TypeAlias = Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""Inputs and targets, (B, T) each, as `fixed_batches` makes them."""


@dataclass(frozen=True)
class Validation:
    """How well a model predicts."""

    loss: float
    """Mean over all targets, in nats."""
    bits_per_byte: float | None
    """Over targets that are text, special tokens left out; None without a tokenizer."""
    more: dict[str, float] = field(default_factory=dict)
    """What else was found, by the names that the log gives it."""


def validate(
    model: Transformer,
    batches: Batches,
    token_bytes: Tensor | None,
    *,
    device: torch.device,
    computing: Callable[[], AbstractContextManager[object]],
    rows: int,
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> Validation:
    """Tries the model on batches, `rows` rows at a time.

    Args:
        model: It is left in the mode it is in.
        batches: What `fixed_batches` made: (B, T) each.
        token_bytes: Bytes of each id, 0 for special tokens, (V,); None if not known.
        device: The model's.
        computing: Makes the context in which to compute, like autocast.
        rows: Rows at a time.
        total: Adds numbers up over the processes that have a part of the batches each.
    """
    summed = of_text = 0.0
    n_targets = n_bytes = 0
    with torch.inference_mode():
        for x, y in batches:
            batch = (torch.split(torch.from_numpy(part), rows) for part in (x, y))
            for ids, targets in zip(*batch, strict=True):
                if not len(ids):
                    continue
                flat = targets.flatten().to(device)
                with computing():
                    hidden = model.hidden(ids.to(device)).flatten(0, 1)
                    loss = float(model.loss_of(hidden, flat, reduction="sum"))
                summed += loss
                n_targets += int((targets != IGNORED).sum())
                if token_bytes is None:
                    continue
                # Special tokens are few: their part is computed once more, and taken off.
                sizes = token_bytes[targets.flatten().clamp_min(0)]
                sizes[targets.flatten() == IGNORED] = -1
                n_bytes += int(sizes.clamp_min(0).sum())
                special = (sizes == 0).to(device)
                of_text += loss
                if special.any():
                    with computing():
                        part = model.loss_of(hidden[special], flat[special], reduction="sum")
                    of_text -= float(part)
    sums = torch.tensor([summed, of_text, n_targets, n_bytes], dtype=torch.float64)
    summed, of_text, targets_, bytes_ = total(sums).tolist()
    bpb = bits_per_byte(of_text, int(bytes_)) if bytes_ else None
    return Validation(summed / max(targets_, 1), bpb)
