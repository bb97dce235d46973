"""What CORE came to: accuracies, centred, their mean, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bytemill.lm.evaluate.core.items import TASKS, CoreTask
from bytemill.lm.evaluate.intervals import interval


def centred(accuracy: float, baseline: float) -> float:
    """An accuracy on the scale where guessing is 0 and all right is 1."""
    return (accuracy - baseline) / (1 - baseline)


@dataclass(frozen=True)
class TaskResult:
    """One task's."""

    task: CoreTask
    right: tuple[bool, ...]
    """Of each item that was asked."""
    n_cropped: int
    """Items that were too long for the model, and lost their beginning."""
    seconds: float
    """That the asking took this time; what had been kept took none."""
    content: str
    """A hash of all of the task's items and how they are shown."""

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.right) / len(self.right)

    def centred(self, *, v2: bool = False) -> float:
        """The accuracy, centred by one of the two sets of baselines."""
        return centred(self.accuracy, self.task.baseline_v2 if v2 else self.task.baseline)


@dataclass(frozen=True)
class CoreResult:
    """All tasks that were asked."""

    tasks: tuple[TaskResult, ...]

    @property
    def missing(self) -> list[str]:
        """The tasks of CORE that were not asked, for lack of their data."""
        asked = {result.task.name for result in self.tasks}
        return [task.name for task in TASKS if task.name not in asked]

    def core(self, *, v2: bool = False) -> float:
        """The mean of the centred accuracies. It is CORE if nothing is `missing`."""
        return sum(result.centred(v2=v2) for result in self.tasks) / len(self.tasks)

    def interval(self, share: float = 0.95, *, v2: bool = False) -> tuple[float, float]:
        """Between what `core` is likely to lie: see `interval`."""
        return interval(
            [
                (each.right, each.task.baseline_v2 if v2 else each.task.baseline)
                for each in self.tasks
            ],
            share,
        )


def table(result: CoreResult) -> list[tuple[str, Sequence[str]]]:
    """A row for each task: its name; items, accuracy in %, centred by both sets of baselines."""
    rows: list[tuple[str, Sequence[str]]] = []
    for each in result.tasks:
        rows.append(
            (
                each.task.name,
                (
                    f"{len(each.right):,}",
                    f"{100 * each.accuracy:.2f}",
                    f"{each.centred():.4f}",
                    f"{each.centred(v2=True):.4f}",
                ),
            )
        )
    return rows
