"""Sampling against a naive version, and the streams of chance."""

import math

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.generate.sampling import Chance, Sampling, row_seeds
from tests.support.one_thread import one_thread  # noqa: F401


def naive(logits: list[float], temperature: float, k: int | None, p: float | None) -> list[float]:
    """The distribution, from the definition: sort, cut, cut, renormalize."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]
    top = logits[order[0]]
    weights = {i: math.exp((logits[i] - top) / temperature) for i in order}
    total = math.fsum(weights.values())
    kept, mass = {}, 0.0
    for i in order:
        if p is not None and mass >= p:
            break
        kept[i] = weights[i]
        mass += weights[i] / total
    total = math.fsum(kept.values())
    return [kept.get(i, 0.0) / total for i in range(len(logits))]


@pytest.mark.parametrize("top_k", [None, 1, 2, 5, 16, 17, 1000])
@pytest.mark.parametrize("top_p", [None, 1e-9, 0.3, 0.8, 0.999, 1.0])
@pytest.mark.parametrize("temperature", [0.01, 0.7, 1.0, 3.0])
def test_probabilities_are_those_of_the_definition(temperature, top_k, top_p):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, 17, generator=generator) * 3
    # Ties, among them one that top-k has to divide.
    logits[0] = 1.0
    logits[1] = torch.tensor([2.0, 0.0] * 8 + [1.0])
    found = Sampling(temperature, top_k, top_p).probabilities(logits)
    found = found / found.sum(-1, keepdim=True)
    for row, values in enumerate(logits.tolist()):
        expected = torch.tensor(naive(values, temperature, top_k, top_p), dtype=torch.float64)
        if row == 0 and top_p in (0.3, 0.8):
            # Equal numbers may add up to either side of the limit.
            assert ((found[row] > 0).sum() - (expected > 0).sum()).abs() <= 1
            continue
        assert torch.allclose(found[row], expected, atol=1e-6), row


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, 7), Sampling(1.3, None, 0.9)])
def test_frequencies_are_the_probabilities(sampling):
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(0))
    n = 40_000
    # Equally spaced numbers: each token gets its share of them, to within one.
    chance = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens = sampling.choose(logits.expand(n, -1), chance)
    shares = sampling.probabilities(logits)[0]
    counts = torch.bincount(tokens, minlength=20)
    assert (counts - n * shares / shares.sum()).abs().max() <= 1.01


def test_ends_of_chance_never_choose_what_is_left_out():
    logits = torch.tensor([[0.0, -1.0, -2.0, -3.0, 5.0, 0.0]] * 2)
    ends = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
    assert Sampling(1.0, top_k=1).choose(logits, ends).tolist() == [4, 4]
    assert Sampling(1.0).choose(logits, ends).tolist() == [0, 5]
    assert Sampling(1e-30).choose(logits, ends).tolist() == [4, 4]


@pytest.mark.parametrize("top_p", [None, 0.6])
@pytest.mark.parametrize("has_ties", [False, True])
def test_a_choice_among_few_is_that_among_all(has_ties, top_p):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(40, 90, generator=generator) * 2
    if has_ties:  # at the border in most rows, and in some not
        logits = logits.round()
    chance = torch.rand(40, generator=generator, dtype=torch.float64)
    sampling = Sampling(0.8, 7, top_p)
    expected = []
    for row, number in zip(sampling.probabilities(logits).tolist(), chance.tolist(), strict=True):
        left = number * sum(row)
        expected.append(next(i for i, p in enumerate(row) if (left := left - p) < 0))
    assert sampling.choose(logits, chance).tolist() == expected
    assert len(set(expected)) > 20
    one_by_one = [sampling.choose(logits[i : i + 1], chance[i : i + 1]) for i in range(40)]
    assert torch.cat(one_by_one).tolist() == expected  # with ties in other rows or without


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damaged_logits_beside_equal_ones(top_k, bad):
    """What is kept is chosen first: a damaged logit must not be left out for equal others."""
    logits = torch.tensor([[1.0, 0.0, 1.0, bad, 1.0, 1.0], [2.0] * 6])
    with pytest.raises(ValueError, match="not finite"):
        Sampling(1.0, top_k).choose(logits, torch.zeros(2, dtype=torch.float64))


def test_logits_that_are_left_out_by_the_model():
    logits = torch.full((2, 6), -math.inf)
    logits[0, 4] = logits[1, 2] = logits[1, 5] = 0.0
    ends = torch.tensor([1 - 2.0**-53] * 2, dtype=torch.float64)
    for top_k in (1, 2, 3, None):
        assert Sampling(1.0, top_k).choose(logits, ends).tolist() == [4, 2 if top_k == 1 else 5]


def test_greedy_takes_the_first_of_the_greatest():
    logits = torch.tensor([[0.0, 3.0, 3.0], [5.0, 1.0, 1.0]])
    assert Sampling(0, top_k=3, top_p=0.5).choose(logits, torch.zeros(2)).tolist() == [1, 0]
    with pytest.raises(ValueError, match="temperature=0"):
        Sampling(0).probabilities(logits)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damaged_logits(temperature, bad):
    logits = torch.zeros(2, 5)
    logits[1, 2] = bad
    with pytest.raises(ValueError, match="not finite"):
        Sampling(temperature).choose(logits, torch.zeros(2, dtype=torch.float64))


def test_chance_depends_on_a_rows_seed_alone():
    together, alone = Chance([5, 6, 7]), Chance([6])
    for _ in range(200):
        assert together.next()[1] == alone.next()[0]
    # 64 rows with seeds in a row: as different as independent numbers are.
    first = Chance(row_seeds(0, 64)).next()
    assert len(set((first * 1000).int().tolist())) >= 55
    assert 0.35 < float(first.mean()) < 0.65


def test_seeds():
    assert row_seeds(7, 3) == [7, 8, 9]
    assert row_seeds([1, 1], 2) == [1, 1]
    for seed, error, message in (
        (-1, ValueError, "seed=-1"),
        (2**63 - 1, ValueError, "2\\*\\*63"),
        ([1, 2], ValueError, "2 seeds for 3 rows"),
        (1.5, TypeError, "seed=1.5"),
        ([1, 2, 1.5], TypeError, "seed has 1.5"),
        ("7", TypeError, "seed='7'"),
    ):
        with pytest.raises(error, match=message):
            row_seeds(seed, 3)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"temperature": -0.1}, ValueError, "temperature=-0.1"),
        ({"temperature": math.nan}, ValueError, "temperature=nan"),
        ({"temperature": math.inf}, ValueError, "temperature=inf"),
        ({"temperature": 10**400}, ValueError, "temperature=1000.*what a float can hold"),
        ({"temperature": "hot"}, TypeError, "temperature='hot'"),
        ({"top_k": 0}, ValueError, "top_k=0"),
        ({"top_k": 2.5}, TypeError, "top_k=2.5"),
        ({"top_p": 0}, ValueError, "top_p=0"),
        ({"top_p": 1.1}, ValueError, "top_p=1.1"),
        ({"top_p": math.nan}, ValueError, "top_p=nan"),
    ],
)
def test_bad_settings(fields, error, message):
    with pytest.raises(error, match=message):
        Sampling(**fields)
