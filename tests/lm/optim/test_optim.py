"""AdamW against torch's, what all optimizers have in common, and clipping."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.optim.adamw import AdamW
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.muon import Muon


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(12, 20), torch.nn.Tanh(), torch.nn.Linear(20, 20), torch.nn.Linear(20, 5)
    )


def train(model, optimizer, steps, seed=1):
    data = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 12, generator=data)
        loss = ((model(x) - x[:, :5].roll(1, 1).square()) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def assert_same_weights(left, right, **tolerance):
    for a, b in zip(left.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


# AdamW


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1},
        {"lr": 3e-3, "betas": (0.8, 0.95), "eps": 1e-10, "weight_decay": 0.0},
    ],
)
def test_adamw_is_torchs_over_200_steps(settings):
    ours, theirs = network().double(), network().double()
    torch.set_default_dtype(torch.float64)
    try:
        losses = [
            train(model, kind(model.parameters(), **settings), 200)
            for model, kind in ((ours, AdamW), (theirs, torch.optim.AdamW))
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert_same_weights(ours, theirs, rtol=1e-9, atol=1e-11)


def test_adamw_by_hand():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = AdamW([weight], lr=0.1, betas=(0.5, 0.75), eps=1e-3, weight_decay=0.2)
    w, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for t in range(1, 6):
        weight.grad = weight.detach() ** 2
        g = w**2
        m, v = 0.5 * m + 0.5 * g, 0.75 * v + 0.25 * g**2
        w = w - 0.1 * 0.2 * w
        w = w - 0.1 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.75**t)) + 1e-3)
        optimizer.step()
        np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-12)


@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_state_dict_goes_on_where_it_was(kind):
    def make(model):
        return kind([p for p in model.parameters() if p.ndim == 2])

    through, first = network(), network()
    optimizer = make(through)
    train(through, optimizer, 6)
    train(through, optimizer, 6, seed=2)
    half = make(first)
    train(first, half, 6)
    second = copy.deepcopy(first)
    rest = make(second)
    rest.load_state_dict(half.state_dict())
    train(second, rest, 6, seed=2)
    assert_same_weights(through, second, rtol=0, atol=0)


def test_closure_and_absent_gradients():
    for kind in (AdamW, Muon):
        weight, untouched = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
        optimizer = kind([weight, untouched])

        def closure(weight=weight):
            weight.grad = None
            loss = (weight**2).sum()
            loss.backward()
            return loss.item()

        assert optimizer.step(closure) == 4.0
        assert (weight < 1).all() and (untouched == 1).all()


def test_defaults_are_those_of_the_papers_code():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    theirs = torch.optim.AdamW([weight]).defaults
    names = ("lr", "betas", "eps", "weight_decay")
    assert AdamW([weight]).defaults == {name: theirs[name] for name in names}
    # Jordan et al. 2024, the reference implementation; the steps are of this repository's quintics.
    expected = {"lr": 0.02, "momentum": 0.95, "nesterov": True, "weight_decay": 0.0, "ns_steps": 8}
    # What it can do besides (`test_muon_refinements`) is off.
    assert expected.items() <= Muon([weight]).defaults.items()


@pytest.mark.parametrize(
    ("kind", "name", "bad", "good"),
    [
        *(
            (AdamW, name, (-1e-9, math.nan, math.inf), 0.0)
            for name in ("lr", "eps", "weight_decay")
        ),
        *((Muon, name, (-1e-9, math.nan, math.inf), 0.0) for name in ("lr", "weight_decay")),
        (Muon, "momentum", (-1e-9, 1.0, math.nan), 0.0),
        (AdamW, "betas", ((0.9, 1.0), (-1e-9, 0.9), (math.nan, 0.9), (0.9,)), (0.0, 0.0)),
    ],
)
def test_arguments_of_optimizers(kind, name, bad, good):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name}="):
            kind([weight], **{name: value})
    assert kind([weight], **{name: good}).param_groups[0][name] == good


# Clipping


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("scale", [1e-5, 1.0])
def test_clipping_is_torchs(max_norm, scale):
    ours, theirs = network(), network()
    unused = torch.nn.Parameter(torch.ones(3))
    for model in (ours, theirs):
        x = torch.randn(4, 12, generator=torch.Generator().manual_seed(3))
        (scale * model(x) ** 2).sum().backward()
    before = torch.cat([p.grad.flatten() for p in ours.parameters()]).norm()
    found = clip_gradients([*ours.parameters(), unused], max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    # No absolute tolerance: that of torch.testing, 1e-5, is as large as the small gradients.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found, before, rtol=1e-5, atol=0)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=0)
    assert unused.grad is None


def test_clipping_of_gradients_as_small_as_eps():
    # As small as what keeps the norm from being zero: the factor is 1 / (2 + 1) of the norm's.
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.full((1,), 2e-6)
    clip_gradients(weight, 1e-6)
    assert float(weight.grad) == pytest.approx(2e-6 / 3, rel=1e-5)


def test_clipping_edges():
    weight = torch.nn.Parameter(torch.ones(2))
    assert clip_gradients([weight], 1.0) == 0
    weight.grad = torch.tensor([3.0, math.nan])
    assert torch.isnan(clip_gradients(weight, 1.0))
    for norm in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="max_norm="):
            clip_gradients([weight], norm)
