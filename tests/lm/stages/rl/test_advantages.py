"""What becomes of rewards."""

import pytest

pytest.importorskip("torch")

from bytemill.lm.stages.rl.advantages import advantages, weigh
from bytemill.lm.stages.rl.rollouts import Rollout
from bytemill.lm.stages.rl.settings import RlSettings


def rollout(question, reward, is_finished=True, length=2):
    return Rollout(question, [1, 2], [5] * length, [1] * length, is_finished, reward)


def weighed(rollouts, **settings):
    batch = weigh(rollouts, RlSettings(**settings))
    return [(one.rollout.question, one.advantage) for one in batch.weighed]


def test_a_reward_less_the_mean():
    assert advantages([1, 0, 0, 0]) == [0.75, -0.25, -0.25, -0.25]
    assert advantages([0.5, 0.5, 0.5]) is None
    assert advantages([1.0]) is None
    # Deviation of 1, 0, 0, 0 with n below the line: sqrt(3) / 4.
    found = advantages([1, 0, 0, 0], divide_by_deviation=True)
    assert found == pytest.approx([3**0.5, *[-(3**-0.5)] * 3])
    with pytest.raises(ValueError, match="the reward nan"):
        advantages([1.0, float("nan")])


def test_groups_do_not_mix_and_those_that_say_nothing_are_skipped():
    rollouts = [rollout(0, 1), rollout(0, 0), rollout(1, 1), rollout(1, 1), rollout(2, 0)]
    batch = weigh([*rollouts, rollout(2, 0.5, length=8)], RlSettings())
    assert [(w.rollout.question, w.advantage) for w in batch.weighed] == [
        (0, 0.5), (0, -0.5), (2, -0.25), (2, 0.25),
    ]  # fmt: skip
    assert batch.skipped == 1
    assert weigh([rollout(n // 2, 1) for n in range(6)], RlSettings()).skipped == 3
    assert batch.reward == pytest.approx(3.5 / 6)
    assert batch.length == pytest.approx(18 / 6)
    assert batch.truncated == 0


def test_the_division_by_the_deviation_is_a_setting():
    group = [rollout(0, 1), *[rollout(0, 0)] * 3]
    assert weighed(group) == [(0, 0.75), *[(0, -0.25)] * 3]
    expected = [3**0.5, *[-(3**-0.5)] * 3]
    found = weighed(group, divide_by_deviation=True)
    assert [advantage for _, advantage in found] == pytest.approx(expected)


def test_truncated_replies_apart():
    group = [rollout(0, 1), rollout(0, 0), rollout(0, 1, is_finished=False)]
    third = 1 / 3
    assert weighed(group) == [(0, 1 - third), (0, -third), (0, -third)]
    assert weighed(group, truncated="drop") == [(0, 0.5), (0, -0.5)]
    assert weighed(group, truncated="keep") == [(0, 1 - 2 / 3), (0, -2 / 3), (0, 1 - 2 / 3)]
    batch = weigh(group, RlSettings(truncated="drop"))
    assert batch.truncated == pytest.approx(third)
    # All truncated: nothing is left to compare.
    assert weigh([rollout(0, 1, False), rollout(0, 0, False)], RlSettings()).skipped == 1


def test_settings_that_do_not_go_together():
    with pytest.raises(ValueError, match="updates=2"):
        RlSettings(updates=2)
    assert RlSettings(updates=2, clip=0.2).clip == 0.2
    with pytest.raises(ValueError, match="questions=1000000000000 with samples=16"):
        RlSettings(questions=10**12)
    with pytest.raises(ValueError, match="samples=1"):
        RlSettings(samples=1)
