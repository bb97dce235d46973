"""Intervals against published ones, and against plain drawing with replacement."""

import random

import pytest

pytest.importorskip("torch")

from bytemill.lm.evaluate.intervals import interval, wilson


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
        [([0.1, 0.5, 0.9] * 20, 0.0), ([0.0, 0.25, 1.0] * 15, 0.25)],
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


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_as_published(right, n, low, high):
    scores = [1.0] * right + [0.0] * (n - right)
    assert interval([(scores, 0.0)]) == pytest.approx((low, high), abs=5.1e-5)
    assert wilson(1 - right / n, n) == pytest.approx((1 - high, 1 - low), abs=5.1e-5)


def test_few_equal_scores_are_not_sure():
    # None of 5, by hand: z^2 / (n + z^2) = 3.8415 / 8.8415.
    low, high = interval([([0.0] * 5, 0.0)])
    assert (low, high) == (0.0, pytest.approx(0.43449, abs=1e-5))
    assert interval([([True] * 5, 0.0)]) == (pytest.approx(1 - high), 1.0)
    # On the scale where a quarter is nothing.
    assert interval([([1] * 5, 0.25)])[0] == pytest.approx((1 - high - 0.25) / 0.75)
    low, high = interval([([0.5] * 5, 0.0)])
    assert low < 0.3 and high > 0.7


def test_several_tasks_are_independent():
    one = ([0.0] * 5, 0.0)
    low, high = interval([one] * 4)
    assert low == 0.0
    assert high == pytest.approx(0.43449 / 2, abs=1e-5)  # the mean of four is half as wide


def test_nothing_to_draw_from():
    for tasks in ([], [([], 0.0)]):
        with pytest.raises(ValueError, match="an interval needs"):
            interval(tasks)
