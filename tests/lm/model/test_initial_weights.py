"""What each component starts with, alone and in a model; and what models started with before."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.model.attention import Attention
from bytemill.lm.model.layers import Embedding, FeedForward, Linear, RMSNorm
from bytemill.lm.model.residual.block import Block
from bytemill.lm.model.variants import Normal
from tests.support.models import small_config
from tests.support.one_thread import one_thread  # noqa: F401

# A model of each preset, seeded; figures of bytemill 0.1.0 before its variants were tables.
GOLDEN = {
    "cs336": (
        [-0.921097, 0.749657, -0.097398, 2.545142, 0.311339, -1.2145, 1.242511, 1.469742],
        [-0.037606, -0.211336, 0.142289, -0.06235, -0.058037],
        [0.090897, 0.059846, 0.018274, -0.162305, -0.181709],
        5.337374687194824,
    ),
    "gpt": (
        [0.049199, -0.480502, 0.072808, -0.218963, -0.146095, -1.027075, 0.29574, -0.674937],
        [0.10337, -0.006284, -0.143227, -0.061197, -0.0866],
        [0.001244, 0.000169, 0.001325, -9.1e-05, -0.000209],
        4.90231990814209,
    ),
}


def is_normal(weight, std):
    """Whether numbers have a deviation of `std`, cut at three of them, about 0."""
    assert weight.std().item() == pytest.approx(std * 0.9866, rel=0.04)  # what the cut leaves
    assert abs(weight.mean().item()) < 5 * std / weight.numel() ** 0.5
    assert 2.5 * std < weight.abs().max().item() <= 3 * std
    return True


def seeded(make):
    """Two times from one seed, and that of torch's global generator."""
    one, two = (make(generator=torch.Generator().manual_seed(6)) for _ in range(2))
    torch.manual_seed(6)
    three = make()
    torch.manual_seed(7)
    four = make()
    for a, b, c in zip(one.parameters(), two.parameters(), three.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    assert not all(map(torch.equal, one.parameters(), four.parameters()))
    return {name: value.detach() for name, value in one.named_parameters()}


def test_linear_and_embedding():
    state = seeded(lambda **factory: Linear(100, 60, **factory))
    assert is_normal(state["weight"], (2 / 160) ** 0.5)
    assert is_normal(seeded(lambda **f: Linear(100, 60, start=Normal(0.3), **f))["weight"], 0.3)
    assert is_normal(seeded(lambda **f: Embedding(100, 60, **f))["weight"], 1.0)
    assert not Linear(10, 6, start=Normal(0.0)).weight.any()
    assert RMSNorm(7).weight.tolist() == [1.0] * 7
    assert RMSNorm(7, weights=False).weight is None


def test_feed_forward_attention_and_block():
    state = seeded(lambda **f: FeedForward(64, 160, "swiglu", **f))
    assert all(is_normal(state[f"w{i}.weight"], (2 / 224) ** 0.5) for i in (1, 2, 3))
    assert set(seeded(lambda **f: FeedForward(64, 160, "silu", **f))) == {"w1.weight", "w2.weight"}
    state = seeded(lambda **f: Attention(96, 4, 2, qk_norm=True, **f))
    assert is_normal(state["q_proj.weight"], (2 / 192) ** 0.5)
    assert is_normal(state["v_proj.weight"], (2 / 144) ** 0.5)
    assert is_normal(state["output_proj.weight"], (2 / 192) ** 0.5)
    assert state["k_norm.weight"].tolist() == [1.0] * 24
    config = small_config("gpt", norm_weights=True)
    state = seeded(lambda **f: Block(config, 1, **f))
    assert not state["attn.output_proj.weight"].any()
    assert not state["ffn.w2.weight"].any()
    assert is_normal(state["ffn.w1.weight"], (2 / (64 + 256)) ** 0.5)
    assert state["ln2.weight"].tolist() == [1.0] * 64


def test_a_model_is_its_parts_in_order_and_can_be_drawn_anew():
    for name in ("cs336", "gpt"):
        config = small_config(name)
        generator = torch.Generator().manual_seed(3)
        model = Transformer(config, generator=generator)
        after = generator.get_state()
        again = Transformer(config)
        generator = torch.Generator().manual_seed(3)
        again.reset_parameters(generator)
        assert torch.equal(generator.get_state(), after)
        for a, b in zip(model.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)


def test_no_values_on_meta_and_nothing_drawn():
    before = torch.get_rng_state()
    model = Transformer(small_config(), device="meta")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", GOLDEN)
def test_models_of_a_seed_are_what_they_were(name):
    logits, weight, head, loss = GOLDEN[name]
    config = ModelConfig.preset(
        name, vocab_size=97, context_length=48, d_model=64, n_layer=2, n_head=4, n_kv_head=2
    )
    torch.manual_seed(5)
    model = Transformer(config)
    near = {"rel": 1e-4, "abs": 2e-6}
    assert model.layers[1].attn.k_proj.weight[3, :5].tolist() == pytest.approx(weight, **near)
    assert model.lm_head.weight[9, :5].tolist() == pytest.approx(head, **near)
    model = Transformer(config, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        ids = torch.randint(97, (3, 48), generator=generator)
        assert model(ids)[0, -1, :8].tolist() == pytest.approx(logits, rel=1e-4, abs=1e-5)
        found = model.loss(ids[:, :-1], ids[:, 1:]).item()
    assert found == pytest.approx(loss, rel=1e-5)


def test_the_recipe_of_2026():
    config = ModelConfig.preset(
        "nanochat-2026", vocab_size=1000, context_length=48, d_model=256, n_layer=4, n_head=2
    )
    model = Transformer(config, generator=torch.Generator().manual_seed(4))
    state = {name: value.detach() for name, value in model.named_parameters()}

    def is_even(name, low, high):
        weight, width = state[name], high - low
        assert low <= weight.min() < low + 0.02 * width
        assert high - 0.02 * width < weight.max() <= high
        assert weight.std().item() == pytest.approx(width / 12**0.5, rel=0.2)

    most = 3**0.5 / 256**0.5
    for name in ("q", "k", "v"):
        is_even(f"layers.1.attn.{name}_proj.weight", -most, most)
    is_even("layers.3.ffn.w1.weight", -0.4 * most, 0.4 * most)
    is_even("value_embeddings.3.weight", -most, most)
    is_even("value_embeddings.1.weight", -most, most)
    for name in ("layers.1.attn.value_gate.weight", "smear.gate.weight"):
        assert 0 <= state[name].min() < 0.004 and 0.016 < state[name].max() <= 0.02
    for name in ("layers.2.attn.output_proj.weight", "layers.2.ffn.w2.weight"):
        assert not state[name].any()
    # Normal, and not cut.
    embedding, head = state["token_embeddings.weight"], state["lm_head.weight"]
    assert embedding.shape == head.shape == (1024, 256)
    for weight, std in ((embedding, 0.8), (head, 0.001)):
        assert weight.std().item() == pytest.approx(std, rel=0.01)
        assert weight.abs().max() > 3.5 * std
    assert state["resid.weight"].tolist() == pytest.approx(
        [1.15, 1.15 - 0.1 / 3, 1.15 - 0.2 / 3, 1.05]
    )
    assert state["x0.weight"].tolist() == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert (state["smear.scale.weight"], state["backout.weight"].item()) == (
        0,
        pytest.approx(0.2),
    )
    assert set(model.value_embeddings) == {"1", "3"}
    model.reset_parameters(torch.Generator().manual_seed(4))
    assert torch.equal(model.value_embeddings["3"].weight, state["value_embeddings.3.weight"])
