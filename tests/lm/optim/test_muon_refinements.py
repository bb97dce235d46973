"""Muon's refinements against NumPy in fp64, written from the papers' formulas."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.optim.muon import Muon, apply_update, new_state, update_of
from bytemill.lm.optim.polar import POLAR_EXPRESS, newton_schulz, orthogonalize

STEPS = 6
# Tall, wide, square, and one shape three times.
SHAPES = [(40, 12), (10, 36), (16, 16), (24, 8), (24, 8), (24, 8)]
DEFAULTS = {
    "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0, "ns_steps": 5, "ns_quintics": "best",
    "ns_divisor": "bound", "row_norm": False, "unit_norm": False, "beta2": None, "cautious": False,
}  # fmt: skip
REFINEMENTS = {
    "quintics": {"ns_quintics": "polar-express"},
    "three quintics": {"ns_quintics": "polar-express", "ns_steps": 3},
    "divisor": {"ns_divisor": "norm"},
    "row_norm": {"row_norm": True},
    "unit_norm": {"unit_norm": True},
    "beta2": {"beta2": 0.9},
    "cautious": {"cautious": True, "weight_decay": 3.0},
    "decay": {"weight_decay": 3.0},
    "all": {
        "ns_quintics": "polar-express", "ns_divisor": "norm", "row_norm": True, "unit_norm": True,
        "beta2": 0.9, "cautious": True, "weight_decay": 3.0,
    },
}  # fmt: skip


class Naive:
    """One matrix in fp64; polynomials are of singular values, which a decomposition gives."""

    def __init__(self, weight, **settings):
        self.weight, self.momentum, self.second = weight, np.zeros_like(weight), 0.0
        self.settings = {**DEFAULTS, **settings}

    def step(self, grad):
        s, weight = self.settings, self.weight
        rows, columns = weight.shape
        self.momentum = s["momentum"] * self.momentum + (1 - s["momentum"]) * grad
        look = (1 - s["momentum"]) * grad + s["momentum"] * self.momentum
        if s["row_norm"]:
            lengths = np.sqrt((look**2).sum(1))
            look = look * (lengths.mean() / lengths)[:, None]
        u, values, v = np.linalg.svd(look, full_matrices=False)
        if s["ns_divisor"] == "norm":
            values = values / (1.01 * np.sqrt((values**2).sum()))
        else:
            values = values / (1.02 * (values**4).sum() ** 0.25)
        chosen = POLAR_EXPRESS if s["ns_quintics"] == "polar-express" else newton_schulz(5)
        for a, b, c in chosen[: s["ns_steps"]]:
            values = a * values + b * values**3 + c * values**5
        update = u * values @ v
        if s["unit_norm"]:
            update = update * np.sqrt(min(rows, columns)) / np.linalg.norm(update)
        if s["beta2"] is not None:
            axis = 1 if rows >= columns else 0
            square = (update**2).mean(axis, keepdims=True)
            self.second = s["beta2"] * self.second + (1 - s["beta2"]) * square
            other = update / np.sqrt(self.second)
            update = other * np.linalg.norm(update) / np.linalg.norm(other)
        rate = s["lr"] * max(1, rows / columns) ** 0.5
        if s["cautious"]:
            decays = np.where(np.sign(update) * np.sign(weight) >= 0, weight, 0)
            self.weight = weight - rate * update - rate * s["weight_decay"] * decays
        else:
            self.weight = (1 - s["lr"] * s["weight_decay"]) * weight - rate * update
        return np.linalg.norm(rate * update)


def problem(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]

    def gradients():
        # Rows of different sizes, so that what makes them alike has something to do.
        for rows, columns in SHAPES:
            sizes = torch.rand(rows, 1, generator=generator, dtype=dtype) ** 3 + 0.05
            yield sizes * torch.randn(rows, columns, generator=generator, dtype=dtype)

    return weights, gradients


def run(settings, reference):
    """For each matrix, by how much ours and the reference's weights differ after all steps, as a
    share of one update's norm."""
    weights, gradients = problem()
    ours = [torch.nn.Parameter(weight.clone()) for weight in weights]
    optimizer = Muon(ours, **{**DEFAULTS, **settings})
    naive = [Naive(weight.numpy(), **reference) for weight in weights]
    for _ in range(STEPS):
        for mine, other, grad in zip(ours, naive, gradients(), strict=True):
            mine.grad = grad
            other.moved = other.step(grad.numpy())
        optimizer.step()
    return [
        np.linalg.norm(mine.detach().numpy() - other.weight) / other.moved
        for mine, other in zip(ours, naive, strict=True)
    ]


@pytest.mark.parametrize("name", REFINEMENTS)
def test_a_refinement_is_the_papers(name):
    settings = REFINEMENTS[name]
    assert max(run(settings, settings)) < 1e-4
    # And not what Muon is without it.
    assert min(run(settings, {})) > 2e-2


def test_states_can_be_held_in_one_tensor_or_dealt_out():
    """`update_of` of parts of stacked states is what the optimizer does."""
    settings = REFINEMENTS["all"]
    weights, gradients = problem(torch.float32)
    weights = [weight for weight in weights if weight.shape == (24, 8)]
    ours = [torch.nn.Parameter(weight.clone()) for weight in weights]
    optimizer = Muon(ours, **{**DEFAULTS, **settings})
    group = optimizer.param_groups[0]
    of_one = new_state(weights[0], group)
    assert {name: tuple(value.shape) for name, value in of_one.items()} == {
        "momentum_buffer": (24, 8),
        "second_moment": (24, 1),
    }
    stacked = {name: torch.zeros(3, *value.shape) for name, value in of_one.items()}
    mine = torch.stack(weights)
    for _ in range(STEPS):
        grads = [grad for grad in gradients() if grad.shape == (24, 8)]
        for weight, grad in zip(ours, grads, strict=True):
            weight.grad = grad
        optimizer.step()
        for part in ([0, 1], [2]):
            states = [{name: value[i] for name, value in stacked.items()} for i in part]
            updates = update_of([grads[i] for i in part], states, group)
            for i, update in zip(part, updates, strict=True):
                apply_update(mine[i], update, group)
    moved = (mine - torch.stack(weights)).norm()
    assert (mine - torch.stack([weight.detach() for weight in ours])).norm() < 1e-5 * moved
    for i, weight in enumerate(ours):
        for name, value in optimizer.state[weight].items():
            torch.testing.assert_close(stacked[name][i], value)


def test_all_refinements_go_on_where_they_were():
    weights, gradients = problem(torch.float32)
    all_grads = [list(gradients()) for _ in range(STEPS)]
    settings = {**DEFAULTS, **REFINEMENTS["all"]}

    def steps(parameters, optimizer, grads):
        for of_step in grads:
            for parameter, grad in zip(parameters, of_step, strict=True):
                parameter.grad = grad.clone()
            optimizer.step()

    through = [torch.nn.Parameter(weight.clone()) for weight in weights]
    steps(through, Muon(through, **settings), all_grads)
    first = [torch.nn.Parameter(weight.clone()) for weight in weights]
    half = Muon(first, **settings)
    steps(first, half, all_grads[:3])
    second = [torch.nn.Parameter(weight.detach().clone()) for weight in first]
    rest = Muon(second)
    rest.load_state_dict(half.state_dict())
    steps(second, rest, all_grads[3:])
    assert all(map(torch.equal, through, second))


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e12])
def test_gradients_of_nothing_and_of_any_size(scale):
    weight = torch.nn.Parameter(torch.ones(6, 4))
    optimizer = Muon([weight], **{**DEFAULTS, **REFINEMENTS["all"], "weight_decay": 0.0})
    before = weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        weight.grad = scale * torch.randn(6, 4, generator=generator)
        weight.grad[2] = 0
        optimizer.step()
    moved = (weight.detach() - before).norm().item()
    # Three updates of norm sqrt(4), times 0.02 sqrt(6 / 4), less where they differ; or none.
    assert (0.05 < moved < 0.15) if scale else moved == 0
    assert torch.equal(weight[2], before[2])


def test_cautious_decay_where_nothing_is_updated():
    """The paper's mask has a weight whose update is 0."""
    weight = torch.nn.Parameter(torch.tensor([[2.0, -3.0], [1.0, 4.0], [0.0, -1.0]]))
    expected = weight.detach() * (1 - 0.1 * 1.5**0.5 * 0.5)
    weight.grad = torch.zeros(3, 2)
    Muon([weight], lr=0.1, weight_decay=0.5, cautious=True).step()
    torch.testing.assert_close(weight.detach(), expected)


def test_five_steps_of_polar_express():
    """Singular values from 1e-3 on end near 1; nothing leaves where the quintics hold."""
    values = np.logspace(-3, 0, 4001)
    for a, b, c in POLAR_EXPRESS:
        values = a * values + b * values**3 + c * values**5
        assert values.min() > 0 and values.max() < 2
    assert values.min() > 0.8 and values.max() < 1.2
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.standard_normal((n, 20)))[0] for n in (32, 20))
    spectrum = np.geomspace(1, 4e-3, 20)
    matrix = torch.from_numpy((left * spectrum) @ right.T).float()
    update = orthogonalize(matrix, 5, quintics="polar-express", divisor="norm")
    found = np.linalg.svd(update.double().numpy(), compute_uv=False)
    assert found.min() > 0.8 and found.max() < 1.2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beta2": 1.0}, "beta2=1.0"),
        ({"ns_quintics": "worst"}, "ns_quintics='worst'.*polar-express"),
        ({"ns_divisor": "two"}, "ns_divisor='two'.*bound, norm"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Muon([torch.nn.Parameter(torch.ones(2, 2))], **settings)
    with pytest.raises(ValueError, match="quintics='x'"):
        orthogonalize(torch.ones(2, 2), quintics="x")
