"""What a pretraining run tells before its first step."""

from __future__ import annotations

from dataclasses import dataclass

from bytemill.lm.train.events import Event
from bytemill.lm.train.plan import Plan


@dataclass(frozen=True)
class Started(Event):
    """All is set up; the first step comes next."""

    plan: Plan
    step: int
    """Steps made before: 0, or where the run goes on."""
    rates: dict[str, float]
    """The peak learning rates that are used, by parameter group, with all scaling done."""
    seconds: float
    """How long the rest will take: an estimate, by how fast the device multiplies matrices."""
    epochs: float
    """How often the run reads its data in all, one that is 1 having as many tokens."""
    device: str
    dtype: str
    is_compiled: bool
    micro_batch_size: int
    train_tokens: int
    val_tokens: int
