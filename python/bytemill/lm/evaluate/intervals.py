"""How sure a mean of scores is.

Scores that are 0 or 1, and scores that are all equal, have Wilson's interval (1927,
https://doi.org/10.1080/01621459.1927.10502953), others that of the bootstrap (Efron 1979,
https://doi.org/10.1214/aos/1176344552), by which equal scores would be sure, however few. The
intervals of several tasks are put together as independent ones (Newcombe 1998,
https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I, method 10).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

_DRAWS: Final = 1000
_SEED: Final = 7


def interval(
    tasks: Sequence[tuple[Sequence[float], float]], share: float = 0.95
) -> tuple[float, float]:
    """Between what the mean over tasks of their mean scores is likely to lie.

    Args:
        tasks: Of each task the score of each item, from 0 to 1, and the baseline: its mean is
            centred, so that the baseline is 0 and 1 is 1.
        share: How often such intervals hold what scores of ever more items would come to.

    Raises:
        ValueError: There is no task, or a task has no items.
    """
    if not tasks or not all(len(scores) for scores, _ in tasks):
        raise ValueError("an interval needs a task, and each task an item")
    drawn = np.random.default_rng(_SEED)
    below = above = total = 0.0
    for scores, baseline in tasks:
        array = np.asarray(scores, np.float64)
        mean = float(array.mean())
        if np.isin(array, (0, 1)).all() or np.ptp(array) == 0:
            low, high = wilson(mean, len(array), share)
        else:
            low, high = _bootstrap(array, share, drawn)
        scale = 1 / (1 - baseline) / len(tasks)
        total += (mean - baseline) * scale
        below += ((mean - low) * scale) ** 2
        above += ((high - mean) * scale) ** 2
    return total - math.sqrt(below), total + math.sqrt(above)


def wilson(mean: float, n: int, share: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, from 0 to 1, that was `mean` of `n` times."""
    z = NormalDist().inv_cdf((1 + share) / 2)
    weight = z * z / n
    centre = (mean + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (mean * (1 - mean) + weight / 4)) / (1 + weight)
    # At the ends it is exact; rounding might miss them.
    return (0.0 if mean == 0 else centre - half), (1.0 if mean == 1 else centre + half)


def _bootstrap(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]], share: float, drawn: np.random.Generator
) -> tuple[float, float]:
    """Between what the mean lies in that share of a thousand draws with replacement."""
    # How often each value is drawn is all that counts.
    values, counts = np.unique(scores, return_counts=True)
    n = len(scores)
    means = np.sort(drawn.multinomial(n, counts / n, size=_DRAWS) @ values / n)
    outside = round((1 - share) / 2 * (_DRAWS - 1))
    return float(means[outside]), float(means[_DRAWS - 1 - outside])
