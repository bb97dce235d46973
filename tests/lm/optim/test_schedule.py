"""Learning rates over time, against tables worked out by hand."""

import math

import pytest

pytest.importorskip("torch")

from bytemill.lm.optim.schedule import Schedule, cosine_schedule

R2, R3, R6 = math.sqrt(2), math.sqrt(3), math.sqrt(6)
# cos(k pi / 12) for k from 0 to 12.
COSINES = [1, (R6 + R2) / 4, R3 / 2, R2 / 2, 1 / 2, (R6 - R2) / 4, 0]
COSINES += [-c for c in reversed(COSINES[:-1])]


def test_cosine_is_the_table():
    # Four steps up, twelve down from 1 to 0.2, then level.
    table = [0, 0.25, 0.5, 0.75, *(0.2 + 0.4 * (1 + c) for c in COSINES), 0.2, 0.2, 0.2]
    found = [cosine_schedule(it, 1.0, 0.2, 4, 16) for it in range(len(table))]
    assert found == pytest.approx(table, rel=1e-12)
    assert found[4] == 1.0 and found[10] == pytest.approx(0.6) and found[16] == 0.2
    scaled = [cosine_schedule(it, 3e-4, 0.6e-4, 4, 16) for it in range(len(table))]
    assert scaled == pytest.approx([3e-4 * value for value in table])


def test_cosine_edges():
    assert cosine_schedule(0, 2.0, 1.0, 0, 10) == 2.0
    assert [cosine_schedule(it, 2.0, 1.0, 3, 3) for it in (2, 3, 4)] == [pytest.approx(4 / 3), 1, 1]
    assert cosine_schedule(10**12, 2.0, 1.0, 3, 30) == 1.0


def test_kinds():
    linear = Schedule("linear", 2, 10, final_fraction=0.2, decay_fraction=0.4)
    table = [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert [linear.multiplier(step) for step in range(12)] == pytest.approx(table)
    constant = Schedule("constant", 4, 10)
    table = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [constant.multiplier(step) for step in range(12)] == table
    cosine = Schedule("cosine", 1, 12, final_fraction=0.1)
    table = [0.1 + 0.45 * (1 + c) for c in COSINES]
    assert [cosine.multiplier(step) for step in range(13)] == pytest.approx(table)
    abrupt = Schedule("linear", 0, 3, decay_fraction=0.0)
    assert [abrupt.multiplier(step) for step in range(5)] == [1, 1, 1, 0, 0]


def test_a_cosine_begins_where_the_warm_up_ends():
    # The last step of the warm-up has the peak: the cosine goes on from there (4 up, 12 down).
    cosine = Schedule("cosine", 5, 16, final_fraction=0.2)
    table = [0.2, 0.4, 0.6, 0.8, *(0.2 + 0.4 * (1 + c) for c in COSINES)]
    assert [cosine.multiplier(step) for step in range(17)] == pytest.approx(table, rel=1e-12)


def test_steps_between_whole_ones():
    for kind in ("cosine", "linear", "constant"):
        schedule = Schedule(kind, 4, 10)
        assert schedule.multiplier(2.5) == 0.875
        assert schedule.multiplier(3.5) == 1.0, "the warm-up does not go beyond the peak"
    assert Schedule("linear", 0, 10, decay_fraction=0.4).multiplier(7.5) == pytest.approx(0.625)
    assert Schedule("constant", 0, 1).multiplier(0) == 1.0


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_always_a_share(kind):
    for warmup in (0, 1, 7, 50):
        for fraction in (0.0, 0.3, 1.0):
            schedule = Schedule(kind, warmup, 50, 0.1, fraction)
            values = [schedule.multiplier(step) for step in range(60)]
            assert all(0 <= value <= 1 for value in values)
            assert all(value > 0 for value in values[:50])
            assert max(values) == pytest.approx(1)


def test_bad_fields():
    for arguments, named in (
        (("sine", 1, 10), 'kind=\'sine\'.*"linear", "cosine", "constant"$'),
        (("cosine", -1, 10), "warmup_steps=-1"),
        (("cosine", 11, 10), "warmup_steps=11"),
        (("cosine", 0, 0), "total_steps=0"),
        (("linear", 0, 10, 1.5), "final_fraction=1.5"),
        (("linear", 0, 10, 0.0, -0.1), "decay_fraction=-0.1"),
    ):
        with pytest.raises(ValueError, match=named):
            Schedule(*arguments)
    with pytest.raises(TypeError, match=r"warmup_steps=1\.0"):
        Schedule("cosine", 1.0, 10)
    with pytest.raises(TypeError, match="final_fraction='0'"):
        Schedule("cosine", 1, 10, "0")


def test_momentum_by_hand():
    schedule = Schedule(
        "linear", 40, 2000, 0.05, 0.65, momentum_start=0.85, momentum_warmup_steps=400,
        momentum_end=0.9,
    )  # fmt: skip
    # Up for 400 steps, 0.97 until step 700, then down for the last 1,300.
    table = {0: 0.85, 100: 0.88, 200: 0.91, 400: 0.97, 700: 0.97, 1350: 0.935, 2000: 0.9, 2500: 0.9}
    for step, expected in table.items():
        assert schedule.momentum(step, 0.97) == pytest.approx(expected), step
    # In a short run it comes down before it was up.
    short = Schedule(
        "linear", 40, 100, 0.05, 0.65, momentum_start=0.85, momentum_warmup_steps=400,
        momentum_end=0.9,
    )  # fmt: skip
    assert [short.momentum(n, 0.97) for n in (0, 50, 100)] == pytest.approx([0.85, 0.865, 0.88])
    assert Schedule("linear", 0, 10).momentum(3, 0.95) == 0.95
    # It stays where it is without an end to go to.
    rising = Schedule("linear", 0, 10, momentum_start=0.5, momentum_warmup_steps=4)
    found = [rising.momentum(n, 0.9) for n in (0, 1, 2, 3, 4, 5, 9, 20)]
    assert found == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9])


def test_decay_by_hand():
    schedule = Schedule("linear", 0, 12, decay="cosine")
    cosines = [math.cos(math.pi * n / 12) for n in range(13)]
    assert [schedule.decay_share(n) for n in range(13)] == pytest.approx(
        [(1 + c) / 2 for c in cosines]
    )
    assert schedule.decay_share(12) == schedule.decay_share(99) == 0
    assert Schedule("linear", 0, 12).decay_share(7) == 1


def test_bad_momenta():
    for fields, named in (
        ({"momentum_start": 1.0}, "momentum_start=1"),
        ({"momentum_end": -0.1}, "momentum_end=-0.1"),
        ({"momentum_warmup_steps": -1}, "momentum_warmup_steps=-1"),
        ({"decay": "linear"}, "decay='linear'"),
    ):
        with pytest.raises(ValueError, match=named):
            Schedule("linear", 1, 10, **fields)
