"""Learning rates over time: warm-up, then cosine, constant and linear decay, or constant.

Beside them, how momentum and weight decay change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from bytemill.lm.settings import AUTO, check, option

ScheduleKind = Literal["linear", "cosine", "constant"]
DecayKind = Literal["constant", "cosine"]

_AUTO = Literal["auto"]


class Rates(Protocol):
    """How learning rates change."""

    def multiplier(self, step: float) -> float:
        """What the peak rates are multiplied by at a step, counted from 0."""
        ...


@dataclass(frozen=True)
class ScheduleConfig:
    """How long to train, on how much at a time, and how the learning rates change meanwhile.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    steps: int | None = option(
        None, least=1, help="optimizer steps, the horizon", derived="by --tokens-per-parameter"
    )
    tokens_per_parameter: float | None = option(
        None,
        above=0,
        help="the horizon where steps are not given: tokens for each parameter, those of the "
        "embedding not counted",
        derived="20, nanochat-2026: 12; on a CPU no more than 2e14 FLOPs, at most about an hour on "
        "two cores",
    )
    flops: float | None = option(
        None,
        above=0,
        help="the horizon where neither of the two is given: FLOPs of training",
        derived="by --tokens-per-parameter",
    )
    minutes: float | None = option(
        None,
        above=0,
        help="minutes that training may take; where the horizon takes longer, the schedule is "
        "shortened while it trains, and the run cannot be repeated bit by bit",
        derived="no limit",
    )
    batch_size: int | None = option(
        None,
        least=1,
        help="rows in an optimizer step, B",
        derived="2^19 tokens at depth 12, growing with the horizon; on a CPU a 512th of it at most",
    )
    kind: ScheduleKind = option(  # noqa: RUF009
        "linear",
        flag="schedule",
        help="of the learning rates: constant then linear decay, cosine, constant",
    )
    warmup_steps: int | None = option(
        None,
        least=0,
        help="steps of linear warm-up",
        derived="2 % of the steps, 100 at most; nanochat-2026: 40",
    )
    final_fraction: float | None = option(
        None,
        least=0,
        most=1,
        help="the share of the learning rates that is left at the end",
        derived="0, nanochat-2026: 0.05",
    )
    decay_fraction: float | None = option(
        None,
        least=0,
        most=1,
        help="the share of the steps in which the linear schedule decays",
        derived="0.5, nanochat-2026: 0.65",
    )
    momentum_start: float | _AUTO | None = option(  # noqa: RUF009
        AUTO,
        least=0,
        below=1,
        help='Muon\'s momentum at the first step, from which it goes to its value; "none" has it '
        "there from the start",
        derived="none, nanochat-2026: 0.85",
    )
    momentum_warmup_steps: int | None = option(
        None, least=0, help="steps in which it goes there", derived="400"
    )
    momentum_end: float | _AUTO | None = option(  # noqa: RUF009
        AUTO,
        least=0,
        below=1,
        help="Muon's momentum at the end, to which it goes while the linear schedule decays; "
        '"none" leaves it',
        derived="none, nanochat-2026: 0.9",
    )
    decay_schedule: DecayKind | _AUTO = option(  # noqa: RUF009
        AUTO,
        help="of the matrices' weight decay: constant, or half a cosine down to 0 at the end",
        derived="constant, nanochat-2026: cosine",
    )

    def __post_init__(self) -> None:
        check(self)


def cosine_schedule(
    it: float, max_lr: float, min_lr: float, warmup_iters: int, cosine_cycle_iters: int
) -> float:
    """The learning rate at iteration `it`, counted from 0 (CS336, assignment 1, section 4.4).

    From 0 in a line to `max_lr` at `warmup_iters`, down half a cosine to `min_lr` at
    `cosine_cycle_iters`, and `min_lr` from there on (Loshchilov and Hutter 2017, SGDR).
    """
    if it < warmup_iters:
        return max_lr * it / warmup_iters
    if it >= cosine_cycle_iters:
        return min_lr
    done = (it - warmup_iters) / (cosine_cycle_iters - warmup_iters)
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Schedule:
    """What to multiply peak learning rates by, step by step; every kind begins with warm-up.

    No step is lost at a rate of zero: the first has 1 / `warmup_steps` of the peak. After
    `total_steps` the multiplier stays at `final_fraction` (at 1 for "constant").

    Raises:
        TypeError, ValueError: A field has a wrong type or is out of range; the message names it.
    """

    kind: ScheduleKind
    """ "cosine" as `cosine_schedule`; "linear": constant, then down in a line over the last
    `decay_fraction` of all steps, as nanochat does; "constant"."""
    warmup_steps: int
    """Steps until the peak; 0 for none."""
    total_steps: int
    """Steps of the whole run."""
    final_fraction: float = 0.0
    """What is left of the peak at the end, 0 to 1."""
    decay_fraction: float = 0.4
    """The share of the steps in which "linear" goes down, 0 to 1."""
    momentum_start: float | None = None
    """Muon's at step 0, below 1; None for its usual one."""
    momentum_warmup_steps: int = 0
    """Steps until the usual one."""
    momentum_end: float | None = None
    """Muon's at the end, below 1, in a line over the last `decay_fraction`; None: the usual one."""
    decay: DecayKind = "constant"
    """Of the matrices' weight decay; "cosine": to 0."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            choices = ", ".join(f'"{kind}"' for kind in get_args(ScheduleKind))
            raise ValueError(f"kind={self.kind!r}: it must be one of {choices}")
        if self.decay not in get_args(DecayKind):
            raise ValueError(f'decay={self.decay!r}: it must be "constant" or "cosine"')
        for name in ("momentum_start", "momentum_end"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name}={value}: it must be at least 0 and below 1")
        for name, least in (("warmup_steps", 0), ("total_steps", 1), ("momentum_warmup_steps", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}={value!r}: it must be an integer")
            if value < least:
                raise ValueError(f"{name}={value}: it must be at least {least}")
        if self.warmup_steps > self.total_steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps}: it must not exceed total_steps="
                f"{self.total_steps}"
            )
        for name in ("final_fraction", "decay_fraction"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name}={value!r}: it must be a number")
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: it must be from 0 to 1")

    def multiplier(self, step: float) -> float:
        """The share of the peak learning rate at `step`, counted from 0: a number from 0 to 1.

        A step between two whole ones has a share between theirs: a run that is shortened
        (`ScheduleConfig.minutes`) goes through the schedule in longer strides.
        """
        if step < self.warmup_steps:
            return min((step + 1) / self.warmup_steps, 1.0)
        if self.kind == "constant":
            return 1.0
        if self.kind == "cosine":
            warmup = max(self.warmup_steps - 1, 0)
            return cosine_schedule(step, 1.0, self.final_fraction, warmup, self.total_steps)
        return self.final_fraction + (1 - self.final_fraction) * self._left(step)

    def _left(self, step: float) -> float:
        """Steps that are left, this one included, as a share of those of the decay; 1 before."""
        down = self.decay_fraction * self.total_steps
        left = max(self.total_steps - step, 0)
        return min(left / down, 1.0) if down else float(left > 0)

    def momentum(self, step: float, usual: float) -> float:
        """Muon's momentum at `step`: the lower of where it comes from and where it goes to.

        Args:
            step: Counted from 0.
            usual: Its value in between.
        """
        found = usual
        if self.momentum_start is not None and step < self.momentum_warmup_steps:
            share = step / self.momentum_warmup_steps
            found = self.momentum_start + (usual - self.momentum_start) * share
        if self.momentum_end is not None:
            coming = self.momentum_end + (usual - self.momentum_end) * self._left(step)
            found = min(found, coming)
        return found

    def decay_share(self, step: float) -> float:
        """The share of the matrices' weight decay at `step`, counted from 0."""
        if self.decay == "constant":
            return 1.0
        return (1 + math.cos(math.pi * min(step / self.total_steps, 1.0))) / 2
