"""pass@k: how likely it is that of k replies to a question at least one is right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bytemill.lm.model.arguments import integer


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), the unbiased estimate from n replies of which c are right.

    Chen et al. 2021, Evaluating large language models trained on code, section 2.1
    (https://arxiv.org/abs/2107.03374). Taking 1 - (1 - c/n)^k instead is too low.

    Args:
        n: Replies to a question, drawn independently.
        c: How many of them are right.
        k: How many are drawn of them, without putting back.

    Raises:
        TypeError: One of them is not an integer.
        ValueError: Not 1 <= k <= n and 0 <= c <= n.
    """
    n, c, k = integer("n", n), integer("c", c), integer("k", k)
    if not 1 <= k <= n:
        raise ValueError(f"k={k}: it must be from 1 up to the {n} replies there are")
    if not 0 <= c <= n:
        raise ValueError(f"c={c}: it must be from 0 up to the {n} replies there are")
    # As a product, C(n - c, k) / C(n, k) overflows nowhere; a factor of 0 says that k replies
    # cannot all be wrong.
    all_wrong = 1.0
    for i in range(k):
        all_wrong *= max(n - c - i, 0) / (n - i)
    return 1.0 - all_wrong


def mean_pass_at_k(rewards: Iterable[Sequence[float]], k: int) -> float:
    """The mean of `pass_at_k` over questions.

    Args:
        rewards: Of each question's replies; 1 is right, whatever is less is not.
        k: As of `pass_at_k`; each question has at least so many replies.

    Raises:
        ValueError: There is no question, or one has fewer than k replies.
    """
    found = [pass_at_k(len(one), sum(reward >= 1 for reward in one), k) for one in rewards]
    if not found:
        raise ValueError("there are no questions")
    return sum(found) / len(found)
