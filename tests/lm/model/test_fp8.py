"""Products in 8 bits: what is rounded and how, on the CPU, which multiplies the same numbers."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.gpu_check import correctness
from bytemill.lm.generate.weights import obstacle
from bytemill.lm.model import fp8
from bytemill.lm.train import Trainer
from tests.support.lm_runs import config, make_ids
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401

CPU = torch.device("cpu")
# Bits of the mantissa, the least exponent of a normal number, the largest number.
FORMATS = {fp8.FORWARD: (3, -6, 448.0), fp8.BACKWARD: (2, -14, 57344.0)}


def rounded(x, dtype):
    """x (fp64) brought to 8 bits and back as the formats are defined: nearest, ties to even."""
    bits, least, most = FORMATS[dtype]
    scale = np.abs(x).max() / most
    scaled = x / scale
    exponents = np.maximum(np.floor(np.log2(np.maximum(np.abs(scaled), 1e-300))), least)
    steps = 2.0 ** (exponents - bits)
    return np.clip(np.round(scaled / steps) * steps, -most, most) * scale


def numbers(*shape, seed=0):
    """Of very different sizes, in fp32."""
    random = np.random.default_rng(seed)
    return (random.standard_normal(shape) * 2.0 ** random.integers(-6, 3, shape)).astype(np.float32)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_rounding_is_that_of_the_format(dtype, size):
    x = numbers(64, 48) * np.float32(size)
    x8, scale = fp8.to_fp8(torch.from_numpy(x), dtype)
    assert x8.dtype == dtype and scale.dtype == torch.float32
    found = x8.double().numpy() * scale.double().item()
    x = x.astype(np.float64)
    expected = rounded(x, dtype)
    # A scale in fp32 moves what lies on a border to the other side of it, seldom.
    assert np.isclose(found, expected, rtol=1e-6, atol=0).mean() > 0.995
    assert np.abs(found).max() == pytest.approx(np.abs(x).max(), rel=1e-6)
    assert 0.01 < np.linalg.norm(found - x) / np.linalg.norm(x) < 2.0 ** -FORMATS[dtype][0]


def test_nothing_stays_nothing_and_ends_stay_finite():
    for dtype in FORMATS:
        x8, scale = fp8.to_fp8(torch.zeros(16, 16), dtype)
        assert not x8.float().any() and scale > 0
        x8, _ = fp8.to_fp8(torch.tensor([3e38, -3e38, 1.0]), dtype)
        assert x8.float().isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_three_products_by_numpy(dtype):
    x, weight, grad = numbers(32, 64), numbers(48, 64, seed=1), numbers(32, 48, seed=2)
    inputs = torch.from_numpy(x).to(dtype).view(2, 16, 64).requires_grad_()
    parameter = torch.nn.Parameter(torch.from_numpy(weight))
    out = fp8.fp8_linear(inputs, parameter)
    out.backward(torch.from_numpy(grad).to(dtype).view(out.shape))
    assert (out.dtype, inputs.grad.dtype, parameter.grad.dtype) == (dtype, dtype, torch.float32)
    x = inputs.detach().double().numpy().reshape(32, 64)
    grad = torch.from_numpy(grad).to(dtype).double().numpy()
    x8, w8 = rounded(x, fp8.FORWARD), rounded(weight.astype(np.float64), fp8.FORWARD)
    g8 = rounded(grad, fp8.BACKWARD)
    for found, expected, exact in (
        (out, x8 @ w8.T, x @ weight.T),
        (inputs.grad, g8 @ w8, grad @ weight),
        (parameter.grad, g8.T @ x8, grad.T @ x),
    ):
        found = found.detach().double().numpy().reshape(expected.shape)
        size = np.linalg.norm(exact)
        assert np.linalg.norm(found - expected) < 5e-3 * size
        assert 1e-2 * size < np.linalg.norm(found - exact) < 0.15 * size


def test_the_gpus_product_is_given_what_it_wants(monkeypatch):
    """torch's own 8-bit product, which has a slow form for CPUs, of the same factors."""
    given = []

    def scaled_mm(a, b, *, scale_a, scale_b, out_dtype, use_fast_accum):
        # As on a GPU: rows of the first and columns of the second lie in one piece.
        assert a.is_contiguous() and b.t().is_contiguous()
        assert all(size % 16 == 0 for size in (*a.shape, *b.shape))
        given.append((a.dtype, b.dtype, use_fast_accum))
        return real(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=out_dtype)

    real = torch._scaled_mm
    x, weight = torch.from_numpy(numbers(32, 64)), torch.from_numpy(numbers(48, 64, seed=1))
    results = []
    for is_gpu in (False, True):
        if is_gpu:
            monkeypatch.setattr(torch, "_scaled_mm", scaled_mm)
            monkeypatch.setattr(fp8, "_is_gpu", lambda _: True)
        inputs, parameter = x.clone().requires_grad_(), torch.nn.Parameter(weight.clone())
        try:
            out = fp8.fp8_linear(inputs, parameter)
        except (NotImplementedError, RuntimeError) as error:
            pytest.skip(f"this torch multiplies 8-bit numbers on GPUs only: {error}")
        out.square().sum().backward()
        results.append((out.detach(), inputs.grad, parameter.grad))
    e4m3, e5m2 = fp8.FORWARD, fp8.BACKWARD
    assert given == [(e4m3, e4m3, True), (e5m2, e4m3, False), (e5m2, e4m3, False)]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@pytest.fixture
def any_device(monkeypatch):
    monkeypatch.setattr(fp8, "check_device", lambda device: None)


@pytest.mark.usefixtures("any_device")
def test_which_matrices_and_when():
    model = small_model("nanochat-2026", n_layer=3)
    ids = ids_like(model, 2, 16)
    plain = model(ids)
    # Six of each block; not the gates, the head or the embeddings.
    assert fp8.use_fp8(model, CPU) == 18
    assert not torch.equal(model(ids), plain)
    assert "multiplies in its own way in training" in obstacle(model)
    assert torch.equal(model.eval()(ids), plain)
    assert obstacle(model) is None
    # Rows that are not a multiple of 16 are multiplied in full.
    model.train()
    odd = ids_like(model, 3, 5)
    torch.testing.assert_close(model(odd), model.eval()(odd), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("any_device")
def test_a_model_learns_as_it_does_without():
    ids = torch.arange(33).repeat(4, 1) * 7 % 97
    losses = {}
    for wants_fp8 in (False, True):
        model = small_model("gpt")
        if wants_fp8:
            fp8.use_fp8(model, CPU)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        found = []
        for _ in range(25):
            loss = model.loss(ids[:, :-1], ids[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses[wants_fp8] = found
    fell = losses[False][0] - losses[False][-1]
    assert fell > 2
    assert losses[True] != losses[False]
    assert abs(losses[True][-1] - losses[False][-1]) < 0.1 * fell


def test_devices_that_cannot(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"fp8=True: the device is cpu; .*9\.0.*train without"):
        fp8.check_device(CPU)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100")
    for capability, is_good in (((8, 0), False), ((8, 9), False), ((9, 0), True), ((10, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        if is_good:
            fp8.check_device(torch.device("cuda"))
        else:
            with pytest.raises(ValueError, match=rf"A100 has .* {capability[0]}\.{capability[1]}"):
                fp8.check_device(torch.device("cuda"))
    make_ids(tmp_path)
    with pytest.raises(ValueError, match="fp8=True: the device is cpu"):
        Trainer(config(tmp_path, fp8=True)).run()
    assert not (tmp_path / "run").exists()


def test_the_check_of_gpus(monkeypatch):
    row = correctness.eight_bits(CPU)
    assert row.ok is None and row.value.startswith("skipped: fp8=True: the device is cpu")
    monkeypatch.setattr(fp8, "check_device", lambda device: None)
    row = correctness.eight_bits(CPU)
    assert row.ok, row.value
    # One that finds no difference, as where nothing is done in 8 bits, is a failure.
    monkeypatch.setattr(correctness, "use_fp8", lambda *_: 0)
    assert correctness.eight_bits(CPU).ok is False
    assert math.isfinite(row.figures["losses"])
