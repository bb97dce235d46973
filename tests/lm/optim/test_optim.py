"""AdamW, Muon, parameter groups and clipping against torch's and against linear algebra."""

import copy
import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.optim.adamw import AdamW
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.groups import (
    OptimConfig,
    apply_schedule,
    build_optimizers,
    set_learning_rates,
)
from bytemill.lm.optim.muon import Muon
from bytemill.lm.optim.polar import newton_schulz, orthogonalize, reach
from bytemill.lm.optim.schedule import Schedule
from tests.support.models import small_model


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


# Muon


def with_spectrum(rows, columns, values, seed=0):
    random = np.random.default_rng(seed)
    left = np.linalg.qr(random.standard_normal((rows, rows)))[0][:, : len(values)]
    right = np.linalg.qr(random.standard_normal((columns, columns)))[0][:, : len(values)]
    return torch.from_numpy(((left * values) @ right.T).astype(np.float32))


MATRICES = {
    "tall": lambda: torch.randn(256, 64),
    "wide": lambda: torch.randn(64, 256),
    "square": lambda: torch.randn(128, 128),
    "one row": lambda: torch.randn(1, 50),
    "tiny": lambda: torch.randn(48, 32) * 1e-12,
    "huge": lambda: torch.randn(48, 32) * 1e12,
    "rotation": lambda: with_spectrum(96, 96, np.ones(96)),
    "condition 1e3": lambda: with_spectrum(96, 96, np.logspace(0, -3, 96)),
    "condition 1e4": lambda: with_spectrum(96, 64, np.logspace(0, -4, 64)),
    "one outlier": lambda: with_spectrum(64, 80, np.r_[1.0, np.full(63, 2e-4)]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_update_is_nearly_orthogonal(name):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros_like(MATRICES[name]()))
    rows, columns = weight.shape
    weight.grad = MATRICES[name]()
    Muon([weight], lr=1.0).step()
    update = -weight.detach().double() / math.sqrt(max(1, rows / columns))
    values = torch.linalg.svdvals(update)
    assert values.min() >= 0.7 and values.max() <= 1.2
    # It keeps the directions: its polar factor is the gradient's.
    u, _, v = torch.linalg.svd(weight.grad.double(), full_matrices=False)
    assert torch.linalg.matrix_norm(update - u @ v, ord=2) < 0.3


@pytest.mark.parametrize("steps", range(3, 12))
def test_reach_is_what_it_says(steps):
    edge = reach(steps)
    x = np.geomspace(edge, 1.0, 20_000)
    for a, b, c in newton_schulz(steps):
        x = a * x + b * x**3 + c * x**5
    assert x.min() > 0.849 and x.max() < 1.151
    # Below it they fall short: the interval is not much wider than it says.
    y = edge * 0.75
    for a, b, c in newton_schulz(steps):
        y = a * y + b * y**3 + c * y**5
    assert y < 0.85


def test_bfloat16_stays_bounded():
    torch.manual_seed(0)
    for rows, columns in ((64, 256), (256, 64), (64, 1), (128, 128)):
        for spectrum in (np.ones(min(rows, columns)), np.logspace(0, -6, min(rows, columns))):
            matrix = with_spectrum(rows, columns, spectrum)
            found = orthogonalize(matrix, dtype=torch.bfloat16).float()
            assert torch.linalg.svdvals(found).max() < 1.2
    flat = with_spectrum(64, 96, np.ones(64))
    values = torch.linalg.svdvals(orthogonalize(flat, dtype=torch.bfloat16).float())
    assert values.min() > 0.7 and values.max() < 1.2


def test_batches_zeros_and_bad_input():
    torch.manual_seed(0)
    batch = torch.randn(3, 20, 30)
    together = orthogonalize(batch)
    for one, expected in zip(batch, together, strict=True):
        torch.testing.assert_close(orthogonalize(one), expected, rtol=1e-4, atol=1e-5)
    assert (orthogonalize(torch.zeros(4, 6)) == 0).all()
    with pytest.raises(ValueError, match="two dimensions"):
        orthogonalize(torch.zeros(4))
    for steps in (0, 13, 2.0, True):
        with pytest.raises(ValueError, match="steps="):
            orthogonalize(torch.ones(2, 2), steps)
    with pytest.raises(ValueError, match=r"shape \(3,\).*AdamW"):
        Muon([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match=r"momentum=1\.0"):
        Muon([torch.nn.Parameter(torch.ones(3, 3))], momentum=1.0)


def test_how_many_steps_and_in_what_they_are_computed():
    matrix = torch.randn(24, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    usual = orthogonalize(matrix)
    assert torch.equal(usual, orthogonalize(matrix, 8, dtype=torch.float32))
    assert not torch.equal(usual, orthogonalize(matrix, 9))
    # More than five gain nothing in bfloat16.
    low = orthogonalize(matrix, dtype=torch.bfloat16)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, orthogonalize(matrix, 5, dtype=torch.bfloat16))
    assert not torch.equal(low, orthogonalize(matrix, 4, dtype=torch.bfloat16))
    # With coefficients, too, it is float32 that is computed in by default.
    torchs = TORCHS["ns_coefficients"]
    found = orthogonalize(matrix, coefficients=torchs)
    assert found.dtype == usual.dtype == torch.float32
    x = matrix.numpy().T / np.linalg.norm(matrix.numpy())
    for a, b, c in torchs:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    np.testing.assert_allclose(found.numpy(), x.T, atol=1e-5)
    nothing = orthogonalize(torch.zeros(0, 3, 4, dtype=torch.float64), coefficients=torchs)
    assert nothing.shape == (0, 3, 4) and nothing.dtype == torch.float32
    for of in (reach, newton_schulz):
        for steps in (0, 13, True):
            with pytest.raises(ValueError, match=f"^steps={steps}: .* from 1 to 12$"):
                of(steps)


TORCHS = {"ns_coefficients": ((3.4445, -4.7750, 2.0315),) * 5, "ns_dtype": torch.bfloat16}


@pytest.mark.parametrize(
    "given",
    [
        (3.4445, -4.775, 2.0315),  # as torch.optim.Muon takes them
        [],
        [(3.4445, -4.775)],
        [(3.4445, -4.775, 2.0315, 0.0)],
        [(3.4445, -4.775, math.nan)],
        [(3.4445, "x", 2.0315)],
        [(10**400, 0, 0)],
        5,
    ],
)
def test_coefficients_that_are_not_triples_are_refused_when_given(given):
    example = re.escape("((3.4445, -4.775, 2.0315),) * 5")
    expected = f"coefficients={re.escape(repr(given))}: .* for each step, such as {example}$"
    with pytest.raises(ValueError, match=f"^ns_{expected}"):
        Muon([torch.nn.Parameter(torch.ones(3, 3))], ns_coefficients=given)
    with pytest.raises(ValueError, match=f"^{expected}"):
        orthogonalize(torch.ones(2, 2), coefficients=given)


def test_coefficients_may_be_lists_or_an_array():
    matrix = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    triples = [[3.0, -4.0, 2.0], [2.0, -1.5, 0.5]]
    expected = orthogonalize(matrix, coefficients=((3.0, -4.0, 2.0), (2.0, -1.5, 0.5)))
    for given in (triples, np.array(triples)):
        assert torch.equal(orthogonalize(matrix, coefficients=given), expected)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no torch.optim.Muon")
@pytest.mark.parametrize("scale", [1.0, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1},
        {"lr": 0.3, "momentum": 0.5, "weight_decay": 0.0},
        {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.5, "nesterov": False},
    ],
)
def test_muon_is_torchs_with_its_coefficients(settings, dtype, scale):
    torch.manual_seed(0)
    # Tall, wide, square, a row, and one shape several times.
    shapes = [(20, 12), (5, 20), (16, 16), (1, 9), (64, 24), (64, 24)]
    begun = [torch.randn(shape, dtype=dtype) for shape in shapes]
    matrices = [[torch.nn.Parameter(b.clone()) for b in begun] for _ in range(2)]
    ours = Muon(matrices[0], **settings, **TORCHS)
    theirs = torch.optim.Muon(matrices[1], **settings)
    for _ in range(5):
        for mine, other in zip(*matrices, strict=True):
            mine.grad = torch.randn_like(mine) * scale
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    norm = torch.linalg.matrix_norm
    for mine, other, start in zip(*matrices, begun, strict=True):
        moved = norm(other.detach() - start)
        assert moved > 0
        assert norm(mine.detach() - other.detach()) <= 1e-6 * moved
        momentum = theirs.state[other]["momentum_buffer"]
        assert torch.equal(ours.state[mine]["momentum_buffer"], momentum)


# Groups


class Tiny(torch.nn.Module):
    def __init__(self, width=192):
        super().__init__()
        self.token_embeddings = torch.nn.Embedding(11, width)
        self.q_proj = torch.nn.Linear(width, width, bias=False)
        self.ln = torch.nn.LayerNorm(width)
        self.lm_head = torch.nn.Linear(width, 11, bias=False)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_groups(kind):
    model = Tiny()
    config = OptimConfig(kind=kind, head_lr=0.01)
    optimizers = build_optimizers(model, config)
    groups = {group["name"]: group for o in optimizers for group in o.param_groups}
    owned = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(owned) == sorted(map(id, model.parameters()))
    assert list(groups) == ["embedding", "head", "vectors", "matrices"] or kind == "adamw"
    assert groups["embedding"]["params"] == [model.token_embeddings.weight]
    assert groups["head"]["params"] == [model.lm_head.weight]
    assert groups["matrices"]["params"] == [model.q_proj.weight]
    # A rate that is given is used; defaults are for a width of 768, of which 192 is a quarter.
    assert groups["head"]["base_lr"] == 0.01
    if kind == "muon":
        assert isinstance(optimizers[1], Muon)
        assert groups["embedding"]["lr"] == pytest.approx(0.4)
        assert groups["matrices"]["base_lr"] == 0.02
    else:
        assert groups["matrices"]["base_lr"] == pytest.approx(2e-3)
        assert groups["matrices"]["weight_decay"] == 0.1
    assert groups["vectors"]["weight_decay"] == 0
    set_learning_rates(optimizers, 0.25)
    assert groups["head"]["lr"] == pytest.approx(0.0025)
    assert groups["head"]["base_lr"] == 0.01
    config = OptimConfig(kind=kind, lr_width_scaling=False)
    whole = {g["name"]: g["lr"] for o in build_optimizers(model, config) for g in o.param_groups}
    defaults = (0.2, 4e-3, 0.02) if kind == "muon" else (1e-3,) * 3
    assert (whole["embedding"], whole["head"], whole["matrices"]) == defaults


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_tied_embedding_has_the_rate_of_a_head(kind):
    model = small_model(tie_embeddings=True)
    groups = build_optimizers(model, OptimConfig(kind=kind, embedding_lr=0.2, head_lr=0.004))
    found = [g for o in groups for g in o.param_groups if g["params"][0] is model.lm_head.weight]
    assert [(group["name"], group["base_lr"]) for group in found] == [("head", 0.004)]
    assert not any(g["name"] == "embedding" for o in groups for g in o.param_groups)


GROUPS_OF_2026 = {
    # Rate, betas, decay; the first three rates are for a width of 768, of which 192 is a quarter.
    "embedding": (0.6, (0.8, 0.995), 0.001),
    "head": (0.016, (0.8, 0.96), 0.01),
    "value_embeddings": (0.3, (0.8, 0.995), 0.01),
    "resid": (0.005, (0.8, 0.95), 0.05),
    "x0": (0.5, (0.96, 0.95), 0.0),
    "smear": (0.2, (0.8, 0.95), 0.0),
}


def test_groups_of_2026():
    model = small_model("nanochat-2026", d_model=192, n_layer=3)
    optimizers = build_optimizers(model, OptimConfig(recipe="nanochat-2026"))
    adamw, muon = optimizers
    found = {group["name"]: group for group in adamw.param_groups}
    assert {
        name: (pytest.approx(group["base_lr"]), group["betas"], group["weight_decay"])
        for name, group in found.items()
    } == GROUPS_OF_2026
    assert all(group["eps"] == 1e-10 for group in found.values())
    names = {id(weight): name for name, weight in model.named_parameters()}
    held = {name: [names[id(p)] for p in group["params"]] for name, group in found.items()}
    assert held["value_embeddings"] == ["value_embeddings.0.weight", "value_embeddings.2.weight"]
    assert held["smear"] == ["smear.gate.weight", "smear.scale.weight", "backout.weight"]
    assert (held["resid"], held["x0"]) == (["resid.weight"], ["x0.weight"])
    (matrices,) = muon.param_groups
    rest = {names[id(p)] for p in matrices["params"]}
    assert rest == {name for name in names.values() if name.startswith("layers.")}
    settings = {
        "base_lr": 0.02, "momentum": 0.97, "ns_steps": 5, "weight_decay": 0.28, "beta2": 0.9,
        "ns_quintics": "polar-express", "ns_divisor": "norm", "row_norm": True, "unit_norm": True,
        "cautious": True, "nesterov": True,
    }  # fmt: skip
    assert {name: matrices[name] for name in settings} == settings
    # Its groups share settings where they are given.
    shared = OptimConfig(recipe="nanochat-2026", beta2=0.9, own_decays=False)
    for group in build_optimizers(model, shared)[0].param_groups:
        assert group["betas"] == (GROUPS_OF_2026[group["name"]][1][0], 0.9)
        assert group["weight_decay"] == 0


def test_a_schedule_is_applied_to_what_may_change():
    model = small_model("nanochat-2026", n_layer=2)
    optimizers = build_optimizers(
        model, OptimConfig(recipe="nanochat-2026", lr_width_scaling=False)
    )
    schedule = Schedule(
        "linear", 0, 100, 0.05, 0.65, momentum_start=0.85, momentum_warmup_steps=20,
        momentum_end=0.9, decay="cosine",
    )  # fmt: skip
    assert apply_schedule(optimizers, schedule, 50) == pytest.approx(0.05 + 0.95 * 50 / 65)
    adamw, muon = optimizers
    (matrices,) = muon.param_groups
    assert matrices["lr"] == pytest.approx(0.02 * (0.05 + 0.95 * 50 / 65))
    assert matrices["weight_decay"] == pytest.approx(0.14)
    assert matrices["momentum"] == pytest.approx(0.9 + 0.07 * 50 / 65)
    for group in adamw.param_groups:
        _, betas, decay = GROUPS_OF_2026[group["name"]]
        assert group["lr"] == pytest.approx(group["base_lr"] * matrices["lr"] / 0.02)
        assert (group["betas"], group["weight_decay"]) == (betas, decay)
    # The bases stay, so that it does not matter where it was before.
    apply_schedule(optimizers, schedule, 0)
    assert (matrices["lr"], matrices["weight_decay"], matrices["momentum"]) == (0.02, 0.28, 0.85)


def test_bad_configs():
    for fields, named in (
        ({"kind": "sgd"}, "kind='sgd'"),
        ({"head_lr": -1.0}, "head_lr=-1"),
        ({"embedding_lr": math.nan}, "embedding_lr=nan"),
        ({"beta2": 1.0}, "beta2=1.0"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"ns_steps": 0}, "ns_steps=0"),
    ):
        with pytest.raises(ValueError, match=named):
            OptimConfig(**fields)
    with pytest.raises(ValueError, match="token_embeddings"):
        build_optimizers(network(), OptimConfig())
    with pytest.raises(ValueError, match="requires_grad"):
        build_optimizers(Tiny().requires_grad_(False), OptimConfig())
    with pytest.raises(ValueError, match="lr=-1"):
        AdamW([torch.nn.Parameter(torch.ones(1))], lr=-1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_muons_steps_by_singular_values(steps):
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    weight.grad = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    optimizer = Muon([weight], lr=1.0, momentum=0.0, ns_steps=steps, ns_dtype=torch.float32)
    optimizer.step()
    # An odd polynomial of a matrix is one of its singular values.
    left, values, right = np.linalg.svd(weight.grad.double().numpy(), full_matrices=False)
    x = values / (values**4).sum() ** 0.25 / 1.02
    for a, b, c in newton_schulz(steps):
        x = a * x + b * x**3 + c * x**5
    expected = -math.sqrt(6 / 4) * (left * x) @ right
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-4)


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


def test_steps_bring_up_rounding_where_a_gradient_has_nothing_else():
    """Why runs that round differently part: docs/ranks.md. What the gradient says is the same."""
    generator = torch.Generator().manual_seed(0)
    tall, wide = (torch.randn(shape, generator=generator) for shape in ((32, 8), (8, 32)))
    gradient = tall @ wide
    rounded = gradient * (1 + 1e-7 * torch.randn(32, 32, generator=generator))
    left, right = torch.linalg.qr(tall)[0], torch.linalg.qr(wide.T)[0]
    apart, told = {}, {}
    for steps in (3, 8):
        pair = gradient, rounded
        one, other = (orthogonalize(each, steps, dtype=torch.float32) for each in pair)
        apart[steps] = float((one - other).norm() / one.norm())
        told[steps] = float((left.T @ (one - other) @ right).norm() / one.norm())
    assert apart[8] > 100 * apart[3], apart
    assert told[8] < 0.05 * apart[8]
