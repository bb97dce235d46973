"""Intervals against plain drawing with replacement."""

import random

import pytest

pytest.importorskip("torch")

from bytemill.lm.evaluate.bootstrap import interval


def naive(tasks, draws=4000):
    drawn = random.Random(1)
    totals = sorted(
        sum((sum(drawn.choices(s, k=len(s))) / len(s) - b) / (1 - b) for s, b in tasks) / len(tasks)
        for _ in range(draws)
    )
    return totals[round(0.025 * draws)], totals[round(0.975 * draws)]


@pytest.mark.parametrize(
    "tasks",
    [
        [([0.0, 1.0, 1.0, 1.0] * 10, 0.25)],
        [([0.0, 0.5, 1.0, 0.2, 0.9] * 12, 0.0), ([1.0] * 30 + [0.0] * 20, 0.5)],
        [([1.0] * 5, 0.25)],
    ],
)
def test_as_drawing_one_by_one(tasks):
    low, high = interval(tasks)
    want = naive(tasks)
    spread = want[1] - want[0]
    assert (low, high) == pytest.approx(want, abs=0.12 * spread + 1e-12)
    narrow = interval(tasks, 0.5)
    assert low <= narrow[0] <= narrow[1] <= high
    assert interval(tasks) == (low, high)


def test_nothing_to_draw_from():
    for tasks in ([], [([], 0.0)]):
        with pytest.raises(ValueError, match="an interval needs"):
            interval(tasks)
