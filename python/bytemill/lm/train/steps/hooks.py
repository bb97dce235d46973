"""What a loop is given to call between its steps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bytemill.lm.evaluate.validation import Validation


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
    figures: Callable[[], dict[str, float]] | None = None
    """What the next line of the log has beside loss and rates; it begins anew with each."""


NO_HOOKS: Final = Hooks()
