"""How sure a mean of scores is: the bootstrap (Efron 1979, https://doi.org/10.1214/aos/1176344552)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

_DRAWS: Final = 1000
_SEED: Final = 7


def interval(
    tasks: Sequence[tuple[Sequence[float], float]], share: float = 0.95
) -> tuple[float, float]:
    """Between what a mean over tasks lies in that share of cases when items are drawn anew.

    Args:
        tasks: Of each task the score of each item, from 0 to 1, and the baseline: its mean is
            centred, so that the baseline is 0 and 1 is 1.
        share: Of a thousand draws of as many items as there are, with replacement.

    Raises:
        ValueError: There is no task, or a task has no items.
    """
    if not tasks or not all(len(scores) for scores, _ in tasks):
        raise ValueError("an interval needs a task, and each task an item")
    drawn = np.random.default_rng(_SEED)
    totals = np.zeros(_DRAWS)
    for scores, baseline in tasks:
        # How often each value is drawn is all that counts.
        values, counts = np.unique(np.asarray(scores, np.float64), return_counts=True)
        n = len(scores)
        means = drawn.multinomial(n, counts / n, size=_DRAWS) @ values / n
        totals += (means - baseline) / (1 - baseline) / len(tasks)
    totals.sort()
    outside = round((1 - share) / 2 * (_DRAWS - 1))
    return float(totals[outside]), float(totals[_DRAWS - 1 - outside])
