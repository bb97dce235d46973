"""What a loop is given to call: rates of its steps, and what is done between them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bytemill.lm.evaluate.validation import Validation


class Rates(Protocol):
    """How learning rates change."""

    def multiplier(self, step: float) -> float:
        """What the peak rates are multiplied by at a step, counted from 0."""
        ...


@dataclass(frozen=True)
class Hooks:
    """What is done between steps, where there is something to be done; every rank calls it."""

    validate: Callable[[], Validation | None] | None = None
    """Tries the model on what it is not trained on; None if there is nothing."""
    sample: Callable[[], str] | None = None
    """What the model writes."""
    save: Callable[[dict[str, float]], Future[Path]] | None = None
    """Given the figures of the step's validation, begins to write a checkpoint of all that is
    needed to go on, and returns its folder as it will be; NonFiniteStateError if that is NaN or
    infinite. The next one is asked for when this one is written."""


NO_HOOKS: Final = Hooks()
