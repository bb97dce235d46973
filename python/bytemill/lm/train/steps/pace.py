"""How fast a run goes, how long it will take, and where in its schedule it is."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

_STEPS: Final = 20
"""Of how many steps the speed is the mean."""
_SETTLED_STEPS: Final = 5
_SETTLED_SECONDS: Final = 20.0


@dataclass
class Pause:
    """What a run does between steps, now and then: validation, samples, saving."""

    every: int
    """Steps from one to the next; 0: at the end only, if at all."""
    at_end: bool
    """Whether it is done after the last step whatever `every` says."""
    in_steps: float
    """How long it takes, in steps: a guess that holds until it has been done once."""
    seconds: float | None = None
    """How long it took the last time."""

    def number(self, step: int, steps: int) -> int:
        """How often it is still to be done after `step` of `steps`."""
        n = steps // self.every - step // self.every if self.every else 0
        ends_on_it = bool(self.every) and steps % self.every == 0
        return n + (self.at_end and not ends_on_it and steps > step)

    def takes(self, per_step: float) -> float:
        """Its seconds, where a step takes `per_step`."""
        return self.in_steps * per_step if self.seconds is None else self.seconds


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


class Pace:
    """Durations of steps and pauses, and what follows from them.

    Without a limit of time the place in the schedule is the number of steps made. With one, each
    step goes on by as much as is left of the schedule divided by the steps for which there is still
    time: a run that is slower than planned ends in time, with learning rates that have come down as
    they should, and one that is fast enough makes the planned steps.

    Args:
        steps: Of the schedule.
        tokens_per_step: B times T, of steps that are not counted.
        pauses: By name, for `paused`.
        limit: Seconds that the run may take; None for as long as it takes.
    """

    def __init__(
        self,
        steps: int,
        tokens_per_step: int,
        pauses: dict[str, Pause] | None = None,
        limit: float | None = None,
    ) -> None:
        self._planned, self.tokens_per_step = steps, tokens_per_step
        self._pauses, self._limit = dict(pauses or {}), limit
        self._durations: deque[float] = deque(maxlen=_STEPS)
        self._counts: deque[int] = deque(maxlen=_STEPS)
        self.tokens = 0
        """Of all steps made."""
        self._n_timed, self._timed = 0, 0.0
        self.step = 0
        self._progress = 0.0
        self._elapsed = 0.0
        self._is_over = False

    def stepped(self, seconds: float, tokens: int | None = None) -> None:
        """A step was made, in so many seconds, of so many tokens; None: as many as planned."""
        tokens = self.tokens_per_step if tokens is None else tokens
        self.tokens += tokens
        left = self.steps_left
        self._progress += (1 - self._progress) / max(left, 1)
        self.step += 1
        self._elapsed += seconds
        # The first one sets up what the others find: it is forgotten when there is another.
        if self._n_timed == 1:
            self._durations.clear()
            self._counts.clear()
            self._timed = 0.0
        self._n_timed += 1
        self._timed += seconds
        self._durations.append(seconds)
        self._counts.append(tokens)

    def paused(self, name: str, seconds: float) -> None:
        """Something was done between steps, in so many seconds."""
        self._elapsed += seconds
        self._pauses[name].seconds = seconds

    @property
    def position(self) -> float:
        """Where in the schedule the next step is: a whole number without a limit of time."""
        return self.step if self._limit is None else self._progress * self._planned

    @property
    def per_step(self) -> float | None:
        """Seconds that a step takes, the mean of the last ones; None before the first."""
        return sum(self._durations) / len(self._durations) if self._durations else None

    @property
    def tokens_per_second(self) -> float:
        """Of the same steps; 0 before the first."""
        seconds = sum(self._durations)
        return sum(self._counts) / seconds if seconds else 0.0

    @property
    def steps_left(self) -> int:
        """Steps still to be made: as planned, or as many as there is time for."""
        planned = max(self._planned - self.step, 0)
        if self._is_over:
            return 0
        if self._limit is None or not planned or self.per_step is None:
            return planned
        time = self._limit - self._elapsed
        per_step = self.per_step
        most = min(planned, max(int(time / per_step), 0))
        fitting = bisect_right(range(most + 1), time, key=lambda n: self._cost(n, per_step))
        return max(fitting - 1, 0)

    def _cost(self, n: int, per_step: float) -> float:
        """Seconds of the next `n` steps, if the run ends with them, pauses included."""
        end = self.step + n
        pauses = sum(p.number(self.step, end) * p.takes(per_step) for p in self._pauses.values())
        return n * per_step + pauses

    @property
    def steps(self) -> int:
        """Steps of the whole run, as far as can be told."""
        return self.step + self.steps_left

    @property
    def seconds_left(self) -> float:
        """Of steps and pauses; 0 before the first step."""
        if self.per_step is None:
            return 0.0
        return self.seconds_at(self.per_step)

    def seconds_at(self, per_step: float) -> float:
        """How long the rest takes at so many seconds a step, pauses included."""
        seconds = self._cost(self.steps_left, per_step)
        return seconds if self._limit is None else min(seconds, self._limit - self._elapsed)

    @property
    def is_settled(self) -> bool:
        """Whether enough was measured to say how long the run will take."""
        timed = len(self._durations)
        return self._n_timed > 1 and (timed >= _SETTLED_STEPS or self._timed >= _SETTLED_SECONDS)

    def end(self) -> None:
        """No step comes any more."""
        self._is_over = True

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on must know."""
        return {
            "progress": self._progress,
            "seconds": self._elapsed,
            "is_over": self._is_over,
            "tokens": self.tokens,
        }

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        """Goes on from `step` with what `state_dict` told."""
        self._progress, self._elapsed = float(state["progress"]), float(state["seconds"])
        # Without a limit of time only the number of steps says so, and there may be more now.
        self._is_over = bool(state["is_over"]) and self._limit is not None
        self.tokens = int(state["tokens"])
        self.step = step
