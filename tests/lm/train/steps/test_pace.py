"""How long a run takes, and how one that is too slow ends in time."""

import itertools

import pytest

pytest.importorskip("torch")

from bytemill.lm.optim.schedule import Schedule
from bytemill.lm.train.steps.pace import Pace, Pause


def simulate(pace, seconds_of, pauses=()):
    """Makes all steps; returns the positions in the schedule and the seconds it took."""
    positions, clock = [], 0.0
    while pace.steps_left:
        positions.append(pace.position)
        seconds = seconds_of(pace.step)
        pace.stepped(seconds)
        clock += seconds
        for name, every, takes in pauses:
            if pace.step % every == 0:
                pace.paused(name, takes)
                clock += takes
    return positions, clock


def test_without_a_limit_the_position_is_the_step():
    positions, _ = simulate(Pace(50, 8), lambda step: 1.0)
    assert positions == list(range(50))
    assert all(isinstance(position, int) for position in positions), "as exact as a counter"


def test_speed_and_time_left_are_of_the_same_durations():
    pauses = {"validation": Pause(10, True, 0.0), "save": Pause(0, True, 0.0)}
    pace = Pace(100, 64, pauses)
    assert (pace.tokens_per_second, pace.seconds_left) == (0.0, 0.0)
    pace.stepped(9.0)  # sets up
    for _ in range(39):
        pace.stepped(0.5)
    assert pace.tokens_per_second == 128.0
    assert pace.seconds_left == pytest.approx(60 * 0.5)
    pace.paused("validation", 2.0)
    # After step 40: at 50, 60, 70, 80, 90 and, once, at 100.
    assert pace.seconds_left == pytest.approx(60 * 0.5 + 6 * 2.0)
    pace.paused("save", 3.0)
    assert pace.seconds_left == pytest.approx(60 * 0.5 + 6 * 2.0 + 3.0)


def test_tokens_that_are_counted():
    pace = Pace(100, 64)
    for tokens in (10, 20, 30, None):
        pace.stepped(0.5, tokens)
    assert pace.tokens == 10 + 20 + 30 + 64
    assert pace.tokens_per_second == pytest.approx((20 + 30 + 64) / 1.5)  # the first sets up
    again = Pace(100, 64)
    again.load_state_dict(pace.state_dict(), 4)
    assert again.tokens == pace.tokens


def test_a_machine_that_is_fast_enough_makes_all_steps():
    pace = Pace(100, 8, limit=1000.0)
    positions, clock = simulate(pace, lambda step: 1.0)
    assert positions == pytest.approx(list(range(100)))
    assert (pace.step, clock) == (100, 100.0)


@pytest.mark.parametrize(
    "seconds_of",
    [
        lambda step: 1.0,
        lambda step: 0.2 if step < 100 else 2.0,  # another program begins
        lambda step: 2.0 if step < 30 else 0.5,  # one ends
        lambda step: 0.3 + (step % 7) * 0.4,
    ],
    ids=["slow", "slower", "faster", "uneven"],
)
def test_a_slow_machine_ends_in_time_with_rates_that_came_down(seconds_of):
    pauses = {"validation": Pause(40, True, 2.0), "save": Pause(40, True, 0.0)}
    pace = Pace(600, 8, pauses, limit=240.0)
    positions, clock = simulate(pace, seconds_of, [("validation", 40, 3.0), ("save", 40, 0.5)])
    assert 60 < pace.step < 600
    last = 0.0 if pace.step % 40 == 0 else 3.5  # the validation and the checkpoint at the end
    assert 240 - 2 * 3.5 - 2 * 2.7 < clock + last <= 240.0
    assert positions == sorted(positions)
    schedule = Schedule("linear", 12, 600, decay_fraction=0.6)
    rates = [schedule.multiplier(position) for position in positions]
    assert rates[0] <= 1 / 12 and max(rates) == 1.0
    assert rates[-1] < 0.1, "the last step is made at a low rate"
    drops = [a - b for a, b in itertools.pairwise(rates) if a > b]
    assert max(drops) < 0.12, "no jump"


def test_a_pace_that_goes_on():
    pace = Pace(600, 8, limit=100.0)
    for _ in range(20):
        pace.stepped(1.0)
    again = Pace(600, 8, limit=100.0)
    again.load_state_dict(pace.state_dict(), 20)
    assert (again.step, again.position) == (20, pace.position)
    again.stepped(1.0)
    assert again.steps_left == pytest.approx(79, abs=1)
    again.end()
    over = Pace(600, 8, limit=100.0)
    over.load_state_dict(again.state_dict(), 21)
    assert over.steps_left == 0
