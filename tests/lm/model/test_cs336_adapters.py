"""The model of CS336's assignment 1, through adapters with the assignment's names and arguments.

What they give is compared with torch's own modules, or with formulas in NumPy and fp64. The
assignment's other parts are in tests/test_cs336.py.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F

from bytemill.lm import ModelConfig, Transformer, functional
from bytemill.lm.model.attention import Attention
from bytemill.lm.model.rope import Rope
from tests.support import reference
from tests.support.cs336 import (
    run_embedding,
    run_linear,
    run_multihead_self_attention,
    run_multihead_self_attention_with_rope,
    run_rmsnorm,
    run_rope,
    run_scaled_dot_product_attention,
    run_silu,
    run_softmax,
    run_swiglu,
    run_transformer_block,
    run_transformer_lm,
)
from tests.support.one_thread import one_thread  # noqa: F401

B, T, C, H, FF, V = 3, 11, 32, 4, 64, 50
THETA = 10_000.0


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def near(got, expected, atol=1e-5):
    expected = torch.as_tensor(np.asarray(expected)).float()
    assert got.shape == expected.shape
    torch.testing.assert_close(got.detach(), expected, rtol=1e-4, atol=atol)


def projections(seed=1):
    return [randn(C, C, seed=seed + i) / C**0.5 for i in range(4)]


def attention(x, weights, positions=None):
    """One sequence (T, C), head by head, in fp64."""
    x, (q, k, v, o) = x.double().numpy(), (w.double().numpy() for w in weights)
    heads = []
    for h in range(H):
        rows = slice(h * C // H, (h + 1) * C // H)
        one = [x @ w[rows].T for w in (q, k, v)]
        if positions is not None:
            one[:2] = [turned(part, positions) for part in one[:2]]
        heads.append(reference.attend(*one))
    return np.concatenate(heads, -1) @ o.T


def turned(x, positions):
    """Each row of x (T, d) at its own position, in fp64."""
    longest = max(positions) + 1
    turns = [reference.rotate(np.tile(row, (longest, 1)), THETA) for row in x]
    return np.stack([turn[position] for turn, position in zip(turns, positions, strict=True)])


def test_parts():
    x, w = randn(B, T, C), randn(FF, C, seed=1)
    near(run_linear(C, FF, w, x), F.linear(x, w), 1e-4)
    table, ids = randn(V, C), torch.randint(V, (B, T))
    near(run_embedding(V, C, table, ids), table[ids])
    w2, w3 = randn(C, FF, seed=2), randn(FF, C, seed=3)
    near(run_swiglu(C, FF, w, w2, w3, x), (F.silu(x @ w.T) * (x @ w3.T)) @ w2.T, 1e-2)
    near(run_silu(x), F.silu(x))
    near(run_softmax(x + 100, 1), F.softmax(x, 1))
    near(run_rmsnorm(C, 1e-5, table[0], x), F.rms_norm(x, (C,), table[0], 1e-5))


@pytest.mark.parametrize("leading", [(), (B,), (B, H)])
def test_rope(leading):
    x = randn(*leading, T, 8)
    for positions in ([*range(T)], [*range(5, 5 + T)], [7, 0, 3, 3, 19, 2, 1, 11, 4, 6, 8]):
        expected = [turned(row.double().numpy(), positions) for row in x.view(-1, T, 8)]
        got = run_rope(8, THETA, 20, x, torch.tensor(positions))
        near(got, np.stack(expected).reshape(x.shape))


def test_scaled_dot_product_attention():
    q, k, v = (randn(B, H, T, 8, seed=i) for i in range(3))
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    near(run_scaled_dot_product_attention(q, k, v, mask), expected)


def test_multihead_self_attention():
    x, weights = randn(B, T, C), projections()
    expected = np.stack([attention(row, weights) for row in x])
    near(run_multihead_self_attention(C, H, *weights, x), expected)
    # As one sequence, and with more axes before.
    near(run_multihead_self_attention(C, H, *weights, x[0]), attention(x[0], weights))
    deep = x.view(1, B, T, C).expand(2, B, T, C)
    got = run_multihead_self_attention(C, H, *weights, deep)
    near(got[1], expected)


def test_multihead_self_attention_with_rope():
    x, weights = randn(B, T, C), projections()
    expected = np.stack([attention(row, weights, range(T)) for row in x])
    arguments = (C, H, 40, THETA, *weights, x)
    near(run_multihead_self_attention_with_rope(*arguments), expected)
    near(run_multihead_self_attention_with_rope(*arguments, torch.arange(T)), expected)
    starts = [0, 7, 20]
    positions = torch.tensor(starts)[:, None] + torch.arange(T)
    each = [attention(r, weights, range(n, n + T)) for r, n in zip(x, starts, strict=True)]
    near(run_multihead_self_attention_with_rope(*arguments, positions), np.stack(each))


def test_the_module_is_the_function():
    x = randn(B, T, C)
    attn = Attention(C, H, 2, window=4)
    weights = [getattr(attn, f"{name}_proj").weight for name in ("q", "k", "v", "output")]
    table = Rope(C // H, 40).at(T)
    got = functional.multihead_self_attention(x, *weights, H, table=table, window=4)
    torch.testing.assert_close(attn(x, table), got, rtol=0, atol=0)


def test_block_and_model():
    generator = torch.Generator().manual_seed(2)
    config = ModelConfig.preset(
        "cs336", vocab_size=V, context_length=20, d_model=C, n_layer=2, n_head=H, d_ff=FF
    )
    model = Transformer(config, generator=generator)
    state = {
        k: v + 0.1 * torch.randn(v.shape, generator=generator)
        for k, v in model.state_dict().items()
    }
    ids = torch.randint(V, (B, T), generator=generator)
    wide = {k: v.double().numpy() for k, v in state.items()}
    expected = np.stack([reference.logits(config, wide, row) for row in ids.numpy()])
    near(run_transformer_lm(V, 20, C, 2, H, FF, THETA, state, ids), expected, 1e-4)
    weights = {k[9:]: v for k, v in state.items() if k.startswith("layers.0.")}
    x = randn(B, T, C)
    norms = [F.rms_norm(x, (C,), weights["ln1.weight"], 1e-5)]
    names = ("q", "k", "v", "output")
    four = [weights[f"attn.{name}_proj.weight"] for name in names]
    y = x + torch.as_tensor(np.stack([attention(r, four, range(T)) for r in norms[0]])).float()
    inner = F.rms_norm(y, (C,), weights["ln2.weight"], 1e-5)
    up = F.silu(inner @ weights["ffn.w1.weight"].T) * (inner @ weights["ffn.w3.weight"].T)
    near(
        run_transformer_block(C, H, FF, 20, THETA, weights, x),
        y + up @ weights["ffn.w2.weight"].T,
        1e-4,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: functional.multihead_self_attention(x, *w, 5), "n_head=5"),
        (lambda x, w: functional.multihead_self_attention(x, *w, 0), "n_head=0"),
        (
            lambda x, w: functional.multihead_self_attention(x, w[0], w[1][:9], w[2], w[3], H),
            "k_proj has 9 rows",
        ),
        (lambda x, w: Attention(C, 5), "n_head=5"),
        (lambda x, w: Attention(C, 4, 3), "n_kv_head=3"),
        (lambda x, w: Attention(C, 4, window=0), "window=0"),
    ],
)
def test_bad_heads(call, message):
    with pytest.raises(ValueError, match=message):
        call(randn(B, T, C), projections())
