"""The steps of a training run, whatever it trains on: when what is done, measured and told."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.checkpoint.state import NonFiniteStateError
from bytemill.lm.evaluate.validation import Validation
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.groups import apply_schedule, peak_rates
from bytemill.lm.optim.schedule import Schedule
from bytemill.lm.train.events import (
    Listener,
    RowsDone,
    Sampled,
    Saved,
    Stepped,
    Timed,
    Validated,
    Warned,
)
from bytemill.lm.train.metrics import MetricsLog
from bytemill.lm.train.pace import Pace, Pause

SLOW_SECONDS: Final = 2.0
"""Steps that take longer tell of their rows."""
DAY: Final = 86_400.0
_LONG_SECONDS: Final = 30.0
_OFF_BY: Final = 1.25
"""By which factor the time may differ from the estimate without being told again."""


class NonFiniteLossError(ValueError):
    """The loss, the gradients' norm, the weights or an optimizer's state are not finite numbers.

    Attributes:
        step: The step that gave it, counted from 1.
        checkpoint: The last checkpoint, from before it; None if none was written.
    """

    def __init__(self, step: int, what: str, checkpoint: Path | None) -> None:
        self.step, self.checkpoint = step, checkpoint
        good = f"the last good checkpoint is {checkpoint}" if checkpoint else "none was saved"
        super().__init__(
            f"step {step}: {what}; {good}. Begin a new run with lower learning rates, a longer "
            'warm-up, a lower grad_clip, or dtype="float32"'
        )


class Work(Protocol):
    """What is trained, and on what."""

    def gradients(self) -> Tensor:
        """Sets the gradients of the next batch's mean loss; returns that loss, a scalar."""
        ...

    def validate(self) -> Validation | None:
        """Tries the model on what it is not trained on; None if there is nothing."""
        ...

    def sample(self) -> str:
        """What the model writes."""
        ...

    def save(self, metrics: dict[str, float]) -> Path:
        """Writes a checkpoint of all that is needed to go on, and returns its folder;
        NonFiniteStateError if that is NaN or infinite."""
        ...


@dataclass(frozen=True)
class Every:
    """Steps between what is done now and then; 0: at the end only, or for samples never."""

    log: int
    validation: int
    sample: int
    checkpoint: int

    def pauses(self, validation_in_steps: float) -> dict[str, Pause]:
        """For `Pace`, given how long a validation takes."""
        # A checkpoint has a validation of its own step.
        often = [n for n in (self.validation, self.checkpoint) if n]
        return {
            "validation": Pause(
                min(often, default=0), validation_in_steps > 0, validation_in_steps
            ),
            "sample": Pause(self.sample, False, 0.0),
            "save": Pause(self.checkpoint, True, 0.0),
        }


class Loop:
    """Steps until the end of a schedule, or until it is told to stop.

    Args:
        work: What is trained.
        model: Its parameters' gradients are clipped.
        optimizers: Over these parameters.
        schedule: Of their learning rates, momentum and weight decay.
        pace: How fast it goes, from the step on at which the run is.
        every: What is done how often.
        grad_clip: The most norm of all gradients; None for none.
        flops_per_token: Of training.
        peak_flops: The device's, or None if not known.
        tell: Told each event.
    """

    def __init__(
        self,
        work: Work,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        schedule: Schedule,
        pace: Pace,
        every: Every,
        *,
        grad_clip: float | None,
        flops_per_token: float,
        peak_flops: float | None,
        tell: Listener,
    ) -> None:
        self._work, self._model, self._optimizers = work, model, optimizers
        self._schedule, self.pace, self._every = schedule, pace, every
        self._clip = math.inf if grad_clip is None else grad_clip
        self._flops, self._peak, self._tell = flops_per_token, peak_flops, tell
        self._tokens_per_step = pace.tokens_per_step
        self._is_stopped = False
        self._began = 0.0
        self._last_seconds = 0.0
        self._estimate: float | None = None
        self.window: list[float] = [0.0, 0.0]
        self.best = math.inf
        self.validation: tuple[int, Validation] | None = None
        self.saved: tuple[int, Path] | None = None

    @property
    def step(self) -> int:
        """Steps made."""
        return self.pace.step

    @property
    def is_finished(self) -> bool:
        """Whether no step is left to be made."""
        return self.pace.steps_left == 0

    def stop(self) -> None:
        """Ends the run after the step that is being made, and saves."""
        self._is_stopped = True

    def run(self, log: MetricsLog, estimate: float) -> None:
        """Makes the steps.

        Args:
            log: Gets the figures.
            estimate: Seconds that the rest is expected to take.

        Raises:
            NonFiniteLossError: The loss is not a number any more.
        """
        self._log, self._estimate = log, estimate
        every = self._every
        while not self.is_finished:
            if self._is_stopped:
                self._save()
                return
            self._one_step()
            if self.is_finished:
                break
            wants_save = _is_due(self.step, every.checkpoint)
            # A checkpoint has the validation of its own step, by which the best one is found.
            if wants_save or _is_due(self.step, every.validation):
                self._validate()
            if _is_due(self.step, every.sample):
                self._sample()
            if wants_save:
                self._save()
        self.pace.end()
        if self.saved is None or self.saved[0] != self.step:
            self._validate()
            if _is_due(self.step, every.sample):
                self._sample()
            self._save()

    def on_rows(self, rows: int, batch_size: int) -> None:
        """Tells of rows that are done, if steps are slow."""
        took = max(time.perf_counter() - self._began, self._last_seconds)
        if took < SLOW_SECONDS or rows == batch_size:  # the step itself is told next
            return
        pace = self.pace
        share = rows / batch_size
        left = pace.seconds_left - share * (pace.per_step or 0.0)
        self._tell(RowsDone(self.step + 1, pace.steps, rows, batch_size, max(left, 0.0)))

    def _one_step(self) -> None:
        self._began = time.perf_counter()
        multiplier = apply_schedule(self._optimizers, self._schedule, self.pace.position)
        loss = self._work.gradients()
        norm = clip_gradients(self._model.parameters(), self._clip)
        for optimizer in self._optimizers:
            optimizer.step()
        # The one point of a step that waits for the device.
        loss_value, norm_value = torch.stack([loss, norm.to(loss.device)]).tolist()
        if not math.isfinite(loss_value) or not math.isfinite(norm_value):
            self._log_diverged(loss_value, norm_value, multiplier)
            what = f"the loss is {loss_value}"
            if math.isfinite(loss_value):
                what = f"the gradients' norm is {norm_value}"
            raise self._not_finite(self.step + 1, what)
        self._last_seconds = time.perf_counter() - self._began
        self.pace.stepped(self._last_seconds)
        self._report(loss_value, norm_value, multiplier)
        self._check_estimate()

    def _log_diverged(self, loss: float, norm: float, multiplier: float) -> None:
        """Writes what came since the last line, and the step that is not finite as the last."""
        if self.window[1]:
            self._log_step(self.step, {"loss": self.window[0] / self.window[1]})
            self.window = [0.0, 0.0]
        figures = {"loss": loss, "grad_norm": norm, "lr_multiplier": multiplier}
        self._log_step(self.step + 1, figures)

    def _log_step(self, step: int, figures: dict[str, Any]) -> None:
        self._log.log(step, {"tokens": step * self._tokens_per_step, **figures})

    def _not_finite(self, step: int, what: str) -> NonFiniteLossError:
        return NonFiniteLossError(step, what, self.saved[1] if self.saved else None)

    def _report(self, loss: float, norm: float, multiplier: float) -> None:
        pace = self.pace
        speed = pace.tokens_per_second
        mfu = speed * self._flops / self._peak if self._peak else None
        tokens = self.step * self._tokens_per_step
        self.window = [self.window[0] + loss, self.window[1] + 1]
        if _is_due(self.step, self._every.log) or self.is_finished:
            rates = peak_rates(self._optimizers)
            figures: dict[str, Any] = {
                "loss": self.window[0] / self.window[1],
                "grad_norm": norm,
                "lr_multiplier": multiplier,
                **{f"lr_{name}": rate * multiplier for name, rate in rates.items()},
                "tokens_per_second": round(speed),
            }
            self._log_step(self.step, figures if mfu is None else {**figures, "mfu": mfu})
            self.window = [0.0, 0.0]
        left = pace.seconds_left
        self._tell(Stepped(self.step, pace.steps, loss, norm, multiplier, tokens, speed, mfu, left))

    def _check_estimate(self) -> None:
        """Says once how long the rest takes, if that is not what was expected."""
        if self._estimate is None or not self.pace.is_settled:
            return
        expected = self._estimate
        self._estimate = None
        left = self.pace.seconds_left
        is_other = not expected / _OFF_BY <= left <= expected * _OFF_BY
        if is_other and max(left, expected) > _LONG_SECONDS:
            self._tell(Timed(self.step, left))
            if left > DAY >= expected:
                self._tell(Warned(too_long(left)))

    def _validate(self) -> None:
        if self.validation and self.validation[0] == self.step:
            return
        began = time.perf_counter()
        found = self._work.validate()
        if found is None:
            return
        self.pace.paused("validation", time.perf_counter() - began)
        if not math.isfinite(found.loss):
            raise self._not_finite(self.step, f"the validation loss is {found.loss}")
        is_best = found.loss < self.best
        self.best = min(self.best, found.loss)
        self.validation = self.step, found
        self._log_step(self.step, dict(_figures(found)))
        self._tell(Validated(self.step, found.loss, found.bits_per_byte, is_best))

    def _sample(self) -> None:
        began = time.perf_counter()
        text = self._work.sample()
        self.pace.paused("sample", time.perf_counter() - began)
        self._tell(Sampled(self.step, text))

    def _save(self) -> None:
        if self.saved and self.saved[0] == self.step:
            return
        began = time.perf_counter()
        figures: dict[str, float] = {}
        if self.validation and self.validation[0] == self.step:
            figures = _figures(self.validation[1])
        try:
            path = self._work.save(figures)
        except NonFiniteStateError as error:
            raise self._not_finite(self.step, str(error)) from None
        self.saved = self.step, path
        self.pace.paused("save", time.perf_counter() - began)
        self._tell(Saved(self.step, path))


def too_long(seconds: float) -> str:
    """A warning of a run that takes more than a day."""
    return (
        f"it takes {seconds / DAY:,.1f} days on this machine; a smaller depth, fewer steps, or a "
        "limit in minutes end it sooner"
    )


def _figures(found: Validation) -> dict[str, float]:
    figures = {"val_loss": found.loss}
    if found.bits_per_byte is not None:
        figures["val_bpb"] = found.bits_per_byte
    return figures


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
