"""From rewards to advantages: how much better a reply is than the others to the same question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bytemill.lm.stages.rl.rollouts import Rollout
from bytemill.lm.stages.rl.settings import RlSettings, Truncated


@dataclass(frozen=True)
class Weighed:
    """A rollout that is trained on."""

    rollout: Rollout
    advantage: float


@dataclass(frozen=True)
class Batch:
    """A batch's rollouts, and what there is to be told of them."""

    weighed: list[Weighed]
    """Those that are trained on."""
    reward: float
    """The mean of all."""
    truncated: float
    """The share that a limit ended."""
    skipped: int
    """Groups in which no reply was better than another."""
    length: float
    """The mean of all, in tokens."""


def weigh(rollouts: Sequence[Rollout], settings: RlSettings) -> Batch:
    """Compares the replies to each question.

    A reply's advantage is its reward less the mean of its group's (Shao et al. 2024, DeepSeekMath,
    section 4.1, without the division by the deviation, which Liu et al. 2025 leave out, too:
    https://arxiv.org/abs/2503.20783). A group whose rewards are all the same says nothing, and is
    skipped: its tokens do not count either.

    Args:
        rollouts: All of a batch; those of a question have its number.
        settings: What to do with truncated ones, and whether to divide.

    Raises:
        ValueError: There are no rollouts, or a reward is not a finite number.
    """
    if not rollouts:
        raise ValueError("there are no rollouts")
    groups: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.question, []).append(rollout)
    weighed: list[Weighed] = []
    skipped = 0
    for group in groups.values():
        rewarded = _rewarded(group, settings.truncated)
        found = advantages([reward for _, reward in rewarded], settings.divide_by_deviation)
        if found is None:
            skipped += 1
            continue
        weighed += [Weighed(r, a) for (r, _), a in zip(rewarded, found, strict=True)]
    n = len(rollouts)
    return Batch(
        weighed,
        reward=sum(rollout.reward for rollout in rollouts) / n,
        truncated=sum(not rollout.is_finished for rollout in rollouts) / n,
        skipped=skipped,
        length=sum(len(rollout.ids) for rollout in rollouts) / n,
    )


def advantages(rewards: Sequence[float], divide_by_deviation: bool = False) -> list[float] | None:
    """A group's rewards less their mean; None where they are all the same.

    Args:
        rewards: Of one question's replies.
        divide_by_deviation: Divide by their standard deviation (that of the group itself, with n
            below the line).

    Raises:
        ValueError: A reward is not a finite number.
    """
    bad = [reward for reward in rewards if not math.isfinite(reward)]
    if bad:
        raise ValueError(f"a judge gave the reward {bad[0]}: rewards must be finite numbers")
    if len(set(rewards)) < 2:
        return None
    mean = math.fsum(rewards) / len(rewards)
    found = [reward - mean for reward in rewards]
    if not divide_by_deviation:
        return found
    deviation = math.sqrt(math.fsum(a * a for a in found) / len(found))
    return [a / deviation for a in found]


def _rewarded(group: Sequence[Rollout], truncated: Truncated) -> list[tuple[Rollout, float]]:
    """The rollouts of a group that count, with their rewards."""
    if truncated == "drop":
        return [(one, one.reward) for one in group if one.is_finished]
    if truncated == "keep":
        return [(one, one.reward) for one in group]
    # Who does not come to an end has not answered; and only so does a model learn to end.
    return [(one, one.reward if one.is_finished else 0.0) for one in group]
