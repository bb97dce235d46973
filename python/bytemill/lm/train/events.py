"""What a training run tells its callers: one dataclass for each kind of event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class Event:
    """Something that happened; one of the classes below, or of those who use the loop."""


@dataclass(frozen=True)
class Timed(Event):
    """The first steps took much longer, or less long, than was expected."""

    step: int
    seconds_left: float


@dataclass(frozen=True)
class RowsDone(Event):
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
class Stepped(Event):
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
class Validated(Event):
    """The model was tried on text that it is not trained on."""

    step: int
    loss: float
    """Mean per token, in nats."""
    bits_per_byte: float | None
    """None without a tokenizer."""
    is_best: bool


@dataclass(frozen=True)
class Sampled(Event):
    """The model wrote something."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class MemoryRanOut(Event):
    """The micro-batch did not fit; the step is made again with a smaller one."""

    step: int
    rows: int
    """Rows in a micro-batch from now on."""


@dataclass(frozen=True)
class Interrupted(Event):
    """Ctrl-C or SIGTERM came. Told at once, from a thread of its own."""

    presses: int
    """1: the run saves after the step that is being made; 2: it ends as soon as Python can."""


@dataclass(frozen=True)
class Warned(Event):
    """Something a person may want to know."""

    message: str


Listener: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does nothing."""
