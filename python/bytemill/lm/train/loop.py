"""The steps of a training run, whatever it trains on: when what is done, measured and told.

`Loop` knows neither a configuration nor a kind of data. It is given a model, optimizers and their
schedule, batches, an objective, and what is to be done between steps.
"""

from __future__ import annotations

import concurrent.futures
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.optim import Optimizer

from bytemill.lm.checkpoint.state import NonFiniteStateError
from bytemill.lm.evaluate.validation import Validation
from bytemill.lm.optim.groups import apply_schedule, peak_rates
from bytemill.lm.optim.schedule import Rates
from bytemill.lm.train.events import (
    Listener,
    MemoryRanOut,
    RowsDone,
    Sampled,
    Saved,
    Stepped,
    Timed,
    Validated,
    Warned,
    ignore,
)
from bytemill.lm.train.metrics import MetricsLog
from bytemill.lm.train.steps.accumulate import MicroBatches
from bytemill.lm.train.steps.average import Average
from bytemill.lm.train.steps.hooks import NO_HOOKS, Hooks
from bytemill.lm.train.steps.objective import Objective
from bytemill.lm.train.steps.pace import Every, Pace
from bytemill.lm.train.steps.source import Source, close
from bytemill.lm.train.steps.world import ALONE, World

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


class Loop:
    """Steps until the end of a schedule, or until it is told to stop.

    Args:
        model: What is trained.
        optimizers: Over its parameters; each parameter group has a "base_lr", its peak rate, and a
            "name" (`name_groups` gives them).
        batches: What it is trained on.
        objective: What is made small.
        pace: How fast it goes, and for how many steps, from the one on at which the run is.
        every: What is done how often.
        schedule: Of the learning rates, momentum and weight decay; None leaves them alone.
        rows: Rows of a batch that are computed at a time, to begin with; None for all.
        grad_clip: The most norm of all gradients; None for none.
        flops_per_token: Of training; 0 if not known.
        peak_flops: The device's, or None if not known.
        tell: Told each event, on the rank that leads.
        hooks: What is done between steps.
        average: Of the weights, told of each step.
        world: The ranks that train together.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        batches: Source,
        objective: Objective,
        pace: Pace,
        every: Every,
        *,
        schedule: Rates | None = None,
        rows: int | None = None,
        grad_clip: float | None = None,
        flops_per_token: float = 0.0,
        peak_flops: float | None = None,
        tell: Listener = ignore,
        hooks: Hooks = NO_HOOKS,
        average: Average | None = None,
        world: World = ALONE,
    ) -> None:
        self.average = average
        self.model, self.optimizers, self.batches = model, optimizers, batches
        self.world, self.hooks, self.pace = world, hooks, pace
        self._schedule, self._every = schedule, every
        self._clip = math.inf if grad_clip is None else grad_clip
        self._flops, self._peak = flops_per_token, peak_flops
        self.tell = tell if world.leads else ignore
        self._micro = MicroBatches(
            objective,
            model,
            rows,
            lambda rows: self.tell(MemoryRanOut(self.step + 1, rows)),
            self._on_rows,
            world,
        )
        self._log: MetricsLog | None = None
        self._is_stopped = False
        self._began = 0.0
        self._last_seconds = 0.0
        self._estimate: float | None = None
        self.window: list[float] = [0.0, 0.0]
        self.best = math.inf
        self.validation: tuple[int, Validation] | None = None
        self.saved: tuple[int, Path] | None = None
        self._saving: tuple[int, Future[Path]] | None = None

    @property
    def step(self) -> int:
        """Steps made."""
        return self.pace.step

    @property
    def rows(self) -> int | None:
        """Rows of a batch that are computed at a time; None for all."""
        return self._micro.rows

    @property
    def is_finished(self) -> bool:
        """Whether no step is left to be made."""
        return self.pace.steps_left == 0

    def stop(self) -> None:
        """Ends the run after the step that is being made, and saves."""
        self._is_stopped = True

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, beside weights and optimizers; fit for JSON."""
        return {
            "batches": self.batches.state_dict(),
            "rows": self.rows,
            "window": list(self.window),
            "best": None if math.isinf(self.best) else self.best,
            "pace": self.pace.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        """Goes on from `step` with what `state_dict` told.

        Raises:
            KeyError, TypeError, ValueError: The state is damaged, or of other batches.
        """
        rows, best = state["rows"], state["best"]
        window = [float(number) for number in state["window"]]
        self._micro.rows = None if rows is None else int(rows)
        self.batches.load_state_dict(dict(state["batches"]))
        self.pace.load_state_dict(dict(state["pace"]), step)
        self.window, self.best = window, math.inf if best is None else float(best)

    def run(self, log: MetricsLog | None = None, estimate: float | None = None) -> None:
        """Makes the steps. The batches are closed when they end, however they do.

        Args:
            log: Gets the figures, on the rank that leads.
            estimate: Seconds that the rest is expected to take.

        Raises:
            NonFiniteLossError: The loss is not a number any more.
        """
        self._log, self._estimate = log if self.world.leads else None, estimate
        try:
            self._steps()
        finally:
            self._settle()
            close(self.batches)

    def _steps(self) -> None:
        every = self._every
        while not self.is_finished:
            if self.world.any(self._is_stopped):
                self._save()
                self._finish_saving()
                return
            self._one_step()
            self._finish_saving(wait=False)
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
        self._finish_saving()

    def _on_rows(self, rows: int, batch_size: int) -> None:
        """Tells of rows that are done, if steps are slow."""
        took = max(time.perf_counter() - self._began, self._last_seconds)
        if took < SLOW_SECONDS or rows == batch_size:  # the step itself is told next
            return
        pace = self.pace
        share = rows / batch_size
        left = pace.seconds_left - share * (pace.per_step or 0.0)
        self.tell(RowsDone(self.step + 1, pace.steps, rows, batch_size, max(left, 0.0)))

    def _one_step(self) -> None:
        self._began = time.perf_counter()
        multiplier = 1.0
        if self._schedule is not None:
            multiplier = apply_schedule(self.optimizers, self._schedule, self.pace.position)
        batch = self.world.draw(self.batches)
        loss = self._micro.gradients(batch)
        norm = self.world.clip(self.model.parameters(), self._clip)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average is not None:
            self.average.update()
        # The one point of a step that waits for the device.
        loss_value, norm_value = torch.stack([loss, norm.to(loss.device)]).tolist()
        tokens = self._micro.tokens(batch)
        if not math.isfinite(loss_value) or not math.isfinite(norm_value):
            self._log_diverged(loss_value, norm_value, multiplier, tokens)
            what = f"the loss is {loss_value}"
            if math.isfinite(loss_value):
                what = f"the gradients' norm is {norm_value}"
            raise self._not_finite(self.step + 1, what)
        self._last_seconds = time.perf_counter() - self._began
        self.pace.stepped(self.world.same(self._last_seconds), tokens)
        self._report(loss_value, norm_value, multiplier)
        self._check_estimate()

    def _log_diverged(
        self, loss: float, norm: float, multiplier: float, tokens: int | None
    ) -> None:
        """Writes what came since the last line, and the step that is not finite as the last."""
        if self.window[1]:
            self._log_step(self.step, self.pace.tokens, {"loss": self.window[0] / self.window[1]})
            self.window = [0.0, 0.0]
        figures = {"loss": loss, "grad_norm": norm, "lr_multiplier": multiplier}
        more = self.pace.tokens_per_step if tokens is None else tokens
        self._log_step(self.step + 1, self.pace.tokens + more, figures)

    def _log_step(self, step: int, tokens: int, figures: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.log(step, {"tokens": tokens, **figures})

    def _not_finite(self, step: int, what: str) -> NonFiniteLossError:
        self._settle()
        return NonFiniteLossError(step, what, self.saved[1] if self.saved else None)

    def _report(self, loss: float, norm: float, multiplier: float) -> None:
        pace = self.pace
        speed = pace.tokens_per_second
        mfu = speed * self._flops / self._peak if self._peak else None
        tokens = pace.tokens
        self.window = [self.window[0] + loss, self.window[1] + 1]
        if _is_due(self.step, self._every.log) or self.is_finished:
            rates = peak_rates(self.optimizers)
            figures: dict[str, Any] = {
                "loss": self.window[0] / self.window[1],
                "grad_norm": norm,
                "lr_multiplier": multiplier,
                **{f"lr_{name}": rate * multiplier for name, rate in rates.items()},
                "tokens_per_second": round(speed),
            }
            figures |= {} if mfu is None else {"mfu": mfu}
            figures |= self.hooks.figures() if self.hooks.figures else {}
            self._log_step(self.step, tokens, figures)
            self.window = [0.0, 0.0]
        left = pace.seconds_left
        self.tell(Stepped(self.step, pace.steps, loss, norm, multiplier, tokens, speed, mfu, left))

    def _check_estimate(self) -> None:
        """Says once how long the rest takes, if that is not what was expected."""
        if self._estimate is None or not self.pace.is_settled:
            return
        expected = self._estimate
        self._estimate = None
        left = self.pace.seconds_left
        is_other = not expected / _OFF_BY <= left <= expected * _OFF_BY
        if is_other and max(left, expected) > _LONG_SECONDS:
            self.tell(Timed(self.step, left))
            if left > DAY >= expected:
                self.tell(Warned(too_long(left)))

    def _validate(self) -> None:
        if self.validation and self.validation[0] == self.step:
            return
        began = time.perf_counter()
        found = self.hooks.validate() if self.hooks.validate else None
        if found is None:
            return
        self._paused("validation", began)
        if not math.isfinite(found.loss):
            raise self._not_finite(self.step, f"the validation loss is {found.loss}")
        is_best = found.loss < self.best
        self.best = min(self.best, found.loss)
        self.validation = self.step, found
        self._log_step(self.step, self.pace.tokens, dict(_figures(found)))
        self.tell(Validated(self.step, found.loss, found.bits_per_byte, is_best))

    def _sample(self) -> None:
        if self.hooks.sample is None:
            return
        began = time.perf_counter()
        text = self.hooks.sample()
        self._paused("sample", began)
        self.tell(Sampled(self.step, text))

    def _save(self) -> None:
        began = time.perf_counter()
        self._finish_saving()
        if self.hooks.save is None or (self.saved and self.saved[0] == self.step):
            return
        figures: dict[str, float] = {}
        if self.validation and self.validation[0] == self.step:
            figures = _figures(self.validation[1])
        try:
            self._saving = self.step, self.hooks.save(figures)
        except NonFiniteStateError as error:
            raise self._not_finite(self.step, str(error)) from None
        self._paused("save", began)

    def _finish_saving(self, *, wait: bool = True) -> None:
        """Tells of the checkpoint that was being written, or raises what went wrong with it."""
        if self._saving is None or not (wait or self._saving[1].done()):
            return
        step, path = self._saving
        concurrent.futures.wait([path])
        self._saving = None
        self.saved = step, path.result()
        self.tell(Saved(step, self.saved[1]))

    def _settle(self) -> None:
        """Waits for the checkpoint that is being written when something else has gone wrong."""
        try:
            self._finish_saving()
        except Exception as error:
            self.tell(Warned(f"the last checkpoint could not be written: {error}"))

    def _paused(self, name: str, began: float) -> None:
        self.pace.paused(name, self.world.same(time.perf_counter() - began))


def name_groups(optimizers: Sequence[Optimizer]) -> None:
    """Gives parameter groups that have none a "base_lr", which is their rate now, and a "name"."""
    number = 0
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("base_lr", float(group["lr"]))
            group.setdefault("name", f"group{number}")
            number += 1


def too_long(seconds: float) -> str:
    """A warning of a run that takes more than a day."""
    return (
        f"it takes {seconds / DAY:,.1f} days on this machine; a smaller depth, fewer steps, or a "
        "limit in minutes end it sooner"
    )


def _figures(found: Validation) -> dict[str, float]:
    figures = {"val_loss": found.loss, **found.more}
    if found.bits_per_byte is not None:
        figures["val_bpb"] = found.bits_per_byte
    return figures


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
