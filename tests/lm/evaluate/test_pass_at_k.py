"""pass@k against counting all ways to draw k of n replies."""

from fractions import Fraction
from itertools import combinations

import pytest

pytest.importorskip("torch")

from bytemill.lm.evaluate.pass_at_k import mean_pass_at_k, pass_at_k


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_all_ways_to_draw(n):
    for c in range(n + 1):
        replies = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            draws = list(combinations(replies, k))
            exact = Fraction(sum(map(any, draws)), len(draws))
            assert pass_at_k(n, c, k) == pytest.approx(float(exact), abs=1e-15)


def test_no_overflow_and_the_ends():
    assert pass_at_k(100_000, 1, 1) == pytest.approx(1e-5, rel=1e-9)
    assert pass_at_k(1000, 501, 500) == 1.0  # 499 wrong ones are fewer than 500
    assert pass_at_k(10, 0, 10) == 0.0


def test_a_mean_over_questions_counts_whole_rewards_only():
    assert mean_pass_at_k([[1.0, 0.0], [0.5, 0.9]], 1) == pytest.approx(0.25)
    assert mean_pass_at_k([[1.0, 0.0], [0.5, 0.9]], 2) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pass_at_k(4, 1, 5), "k=5"),
        (lambda: pass_at_k(4, 1, 0), "k=0"),
        (lambda: pass_at_k(4, 5, 1), "c=5"),
        (lambda: mean_pass_at_k([], 1), "no questions"),
    ],
)
def test_what_cannot_be(call, words):
    with pytest.raises(ValueError, match=words):
        call()
