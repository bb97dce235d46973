"""What a training run tells its callers: one dataclass for each kind of event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bytemill.lm.train.plan import Plan


@dataclass(frozen=True)
class Started:
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


@dataclass(frozen=True)
class Timed:
    """The first steps took much longer, or less long, than `Started` said."""

    step: int
    seconds_left: float


@dataclass(frozen=True)
class RowsDone:
    """Some of a step's rows have gone forward and backward; told of steps that take seconds."""

    step: int
    """The step that is being made, counted from 1."""
    steps: int
    rows: int
    """Of its batch, done so far."""
    batch_size: int
    seconds_left: float
    """Of the run; 0 before the first step is made."""


@dataclass(frozen=True)
class Stepped:
    """An optimizer step was made."""

    step: int
    """Steps made, this one included."""
    steps: int
    """Of the whole run; fewer than planned where the time is limited and too short."""
    loss: float
    """Of this step's batch, mean per token, in nats."""
    grad_norm: float
    """Before clipping."""
    lr_multiplier: float
    tokens: int
    """Seen since the run began."""
    tokens_per_second: float
    """Over the last steps; validation, samples and saving are not counted in."""
    mfu: float | None
    """FLOP/s of the model as a share of the device's peak, where that is known."""
    seconds_left: float
    """At that speed, and with the validations, samples and checkpoints that are to come."""


@dataclass(frozen=True)
class Validated:
    """The model was tried on text that it is not trained on."""

    step: int
    loss: float
    """Mean per token, in nats."""
    bits_per_byte: float | None
    """None without a tokenizer."""
    is_best: bool


@dataclass(frozen=True)
class Sampled:
    """The model wrote something."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class MemoryRanOut:
    """The micro-batch did not fit; the step is made again with a smaller one."""

    step: int
    rows: int
    """Rows in a micro-batch from now on."""


@dataclass(frozen=True)
class Interrupted:
    """Ctrl-C or SIGTERM came. Told at once, from a thread of its own."""

    presses: int
    """1: the run saves after the step that is being made; 2: it ends as soon as Python can."""


@dataclass(frozen=True)
class Warned:
    """Something a person may want to know."""

    message: str


Event: TypeAlias = (
    Started
    | Timed
    | RowsDone
    | Stepped
    | Validated
    | Sampled
    | Saved
    | MemoryRanOut
    | Interrupted
    | Warned
)
Listener: TypeAlias = Callable[[Event], None]
