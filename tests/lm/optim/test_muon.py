"""Muon and its orthogonalization, against torch's and against linear algebra."""

import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.optim.muon import Muon
from bytemill.lm.optim.polar import newton_schulz, orthogonalize, reach


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
