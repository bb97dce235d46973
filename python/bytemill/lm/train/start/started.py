"""What a pretraining run tells before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bytemill.lm.train.events import Event
from bytemill.lm.train.loop import DAY, too_long
from bytemill.lm.train.plan import Plan

_MOST_EPOCHS: Final = 4.0
"""More than these teach a model little (Muennighoff et al. 2023, https://arxiv.org/abs/2305.16264)."""


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


def warnings(event: Started) -> list[str]:
    """What a person may want to know before the run begins."""
    notes = []
    if not event.val_tokens:
        notes.append("there are no validation tokens: nothing is validated")
    if event.epochs > _MOST_EPOCHS:
        notes.append(
            f"the data is read {event.epochs:,.1f} times over, and more than {_MOST_EPOCHS:g} "
            "times teach little; use more text or fewer steps"
        )
    if event.seconds > DAY:
        notes.append(too_long(event.seconds))
    return notes
