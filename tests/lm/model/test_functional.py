"""The parts of the model against torch's own and against fp64."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F

from bytemill.lm import functional
from bytemill.lm.model import kernels
from bytemill.lm.model.rope import Rope
from tests.support.one_thread import one_thread  # noqa: F401


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("theta", [100.0, 10_000.0, 500_000.0])
def test_rope_is_right_to_position_32768(theta):
    length, size = 32_769, 64
    x = randn(length, size)
    got = functional.rope(x, functional.rope_table(size, length, theta)).numpy()
    wide = x.double().numpy()
    angles = np.arange(length)[:, None] / theta ** (np.arange(0, size, 2) / size)
    turned = (wide[:, 0::2] + 1j * wide[:, 1::2]) * np.exp(1j * angles)
    assert np.abs(got[:, 0::2] - turned.real).max() < 1e-5
    assert np.abs(got[:, 1::2] - turned.imag).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ropes_two_forms_agree(dtype, monkeypatch):
    x, table = randn(2, 3, 9, 8, dtype=dtype), functional.rope_table(8, 9)
    results = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda c=compiling: c)
        leaf = x.clone().requires_grad_()
        y = functional.rope(leaf, table)
        y.backward(randn(2, 3, 9, 8, seed=1, dtype=dtype))
        assert y.dtype == dtype
        results.append((y.detach(), leaf.grad))
    torch.testing.assert_close(*results)


def test_rope_at_positions():
    rope, x = Rope(8, 50), randn(2, 5, 8)
    positions = torch.tensor([[3, 4, 5, 6, 7], [40, 41, 42, 43, 44]])
    near = {"rtol": 0, "atol": 1e-6}
    got = rope(x, positions)
    torch.testing.assert_close(got[0], rope(x, 3)[0], **near)
    torch.testing.assert_close(got[1], rope(x, 40)[1], **near)
    torch.testing.assert_close(rope(x)[:, 0], x[:, 0], **near)
    # Heads before positions, as positions of each row or the same for all; and heads after them.
    heads = randn(2, 3, 5, 8)
    each = rope(heads, positions[:, None])
    torch.testing.assert_close(each[1, 2], rope(heads[1, 2], 40), **near)
    torch.testing.assert_close(rope(heads, positions[0])[1], rope(heads[1], 3), **near)
    after = functional.rope(heads.transpose(1, 2), rope.at(5, positions).unsqueeze(-3))
    torch.testing.assert_close(after.transpose(1, 2), each, **near)
    with pytest.raises(ValueError, match="head_dim=7"):
        functional.rope_table(7, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("compiling", [True, False])
def test_rmsnorm(dtype, weighted, compiling, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    x = randn(3, 5, 16, dtype=dtype).requires_grad_()
    weight = randn(16, seed=1).requires_grad_() if weighted else None
    wide = x.detach().double().requires_grad_()
    wide_weight = weight.detach().double().requires_grad_() if weighted else None
    grad = randn(3, 5, 16, seed=2, dtype=dtype)
    expected = F.rms_norm(wide, (16,), wide_weight, 1e-5)
    expected.backward(grad.double())
    got = functional.rmsnorm(x, weight)
    got.backward(grad)
    assert got.dtype == x.grad.dtype == dtype
    near = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(got.double(), expected, rtol=near, atol=near)
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=near, atol=near)
    if weighted:
        torch.testing.assert_close(weight.grad.double(), wide_weight.grad, rtol=near, atol=near)


def test_rmsnorm_of_zeros_and_huge():
    assert not functional.rmsnorm(torch.zeros(2, 8)).any()
    huge = functional.rmsnorm(torch.full((1, 8), 300.0, dtype=torch.bfloat16).mul(1e10))
    torch.testing.assert_close(huge, torch.ones_like(huge))


@pytest.mark.parametrize("rows", [(3,), (40,), (5, 8), (2, 3, 7)])
def test_linear(rows):
    x, weight = randn(*rows, 24).requires_grad_(), randn(10, 24, seed=1).requires_grad_()
    grad = randn(*rows, 10, seed=2)
    functional.linear(x, weight).backward(grad)
    mine = functional.linear(x, weight), x.grad, weight.grad
    x.grad = weight.grad = None
    expected = F.linear(x, weight)
    expected.backward(grad)
    torch.testing.assert_close(mine, (expected, x.grad, weight.grad), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_onednn_is_used_and_can_be_turned_off():
    x, weight = randn(64, 24).requires_grad_(), randn(10, 24, seed=1)
    assert kernels.has_onednn(x, weight)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not kernels.has_onednn(x, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert functional.linear(x, weight).dtype == torch.bfloat16


def test_activations():
    x = randn(4, 9).requires_grad_()
    torch.testing.assert_close(functional.silu(x), x / (1 + (-x).exp()))
    grad = randn(4, 9, seed=1)
    functional.relu_squared(x).backward(grad)
    got, x.grad = x.grad, None
    F.relu(x).square().backward(grad)
    torch.testing.assert_close(got, x.grad, rtol=0, atol=1e-6)
    w1, w2, w3 = randn(6, 9, seed=2), randn(9, 6, seed=3), randn(6, 9, seed=4)
    expected = (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
    torch.testing.assert_close(functional.swiglu(x, w1, w2, w3), expected)


def test_softmax():
    x = randn(3, 4, 5)
    for dim in (0, 1, -1):
        torch.testing.assert_close(functional.softmax(x, dim), x.softmax(dim))
    torch.testing.assert_close(functional.softmax(x + 1e4), (x + 1e4).softmax(-1))
    assert functional.softmax(x.bfloat16()).dtype == torch.bfloat16


def test_attention_oracle():
    q, k, v = randn(2, 3, 5, 8), randn(2, 3, 7, 8, seed=1), randn(2, 3, 7, 8, seed=2)
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(3)) < 0.6
    mask[:, 0] = True
    for m in (None, mask):
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=m)
        got = functional.scaled_dot_product_attention(q, k, v, m)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_embedding_and_softcap():
    weight = randn(11, 4)
    ids = torch.tensor([[0, 10], [3, 3]])
    assert torch.equal(functional.embedding(ids, weight), weight[ids])
    for bad in (11, -1, -100):
        with pytest.raises(ValueError, match=rf"id {bad} is not in the vocabulary.*0 to 10"):
            functional.embedding(torch.tensor([3, bad]), weight)
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(TypeError, match=f"ids of {dtype}"):
            functional.embedding(ids.to(dtype), weight)
    x = torch.tensor([0.0, 1.0, -1000.0])
    expected = torch.tensor([0.0, 15 * math.tanh(1 / 15), -15.0])
    torch.testing.assert_close(functional.softcap(x, 15.0), expected)
    assert functional.softcap(x, None) is x


def test_every_name_is_there_and_documented():
    for name in functional.__all__:
        assert getattr(functional, name).__doc__
