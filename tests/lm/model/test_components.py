"""Components by hand: CS336's GPT-2 XL."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import ModelConfig
from bytemill.lm.model.cost.accounting import count_parameters, forward_flops
from bytemill.lm.model.cost.components import components, cs336_activations

XL = {
    "vocab_size": 50_257, "context_length": 1_024, "d_model": 1_600, "n_layer": 48, "n_head": 25,
    "d_ff": 6_400,
}  # fmt: skip


def test_gpt2_xl_by_hand():
    parts = {part.name: part for part in components(ModelConfig.preset("cs336", **XL))}
    for name in ("query", "key", "value", "output"):
        assert parts[name].parameters == 48 * 1_600**2
        assert parts[name].flops == 48 * 2 * 1_024 * 1_600**2
    for name in ("scores (queries with keys)", "scores with values"):
        assert (parts[name].parameters, parts[name].flops) == (0, 48 * 2 * 1_024**2 * 1_600)
    for name in ("feed-forward up", "feed-forward gate", "feed-forward down"):
        assert parts[name].parameters == 48 * 1_600 * 6_400
        assert parts[name].flops == 48 * 2 * 1_024 * 1_600 * 6_400
    assert parts["embedding"].parameters == parts["head"].parameters == 50_257 * 1_600
    assert parts["head"].flops == 2 * 1_024 * 50_257 * 1_600
    assert parts["norms and others"].parameters == 97 * 1_600
    assert parts["norms and others"].flops == 0


@pytest.mark.parametrize("preset", ["gpt", "cs336"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"n_kv_head": 1}, {"tie_embeddings": True}, {"window": 9, "window_pattern": "SL"}],
)
def test_they_add_up(preset, changes):
    sizes = {"vocab_size": 300, "context_length": 32, "d_model": 64, "n_layer": 3, "n_head": 4}
    config = ModelConfig.preset(preset, **sizes, **changes)
    parts = components(config, batch_size=3, length=20)
    assert sum(part.parameters for part in parts) == count_parameters(config).total
    flops = forward_flops(config, batch_size=3, length=20).total
    assert sum(part.flops for part in parts) == pytest.approx(flops, rel=1e-12)
    # No product is left over for "others".
    assert parts[-1].flops <= 1e-9 * flops


def test_cs336_activations_by_hand():
    layer = 2 * 1_600 + 3 * 1_600 + 2 * 25 * 1_024 + 2 * 1_600 + 3 * 6_400 + 1_600
    per_token = 48 * layer + 1_600 + 50_257 + 1
    config = ModelConfig.preset("cs336", **XL)
    assert cs336_activations(config, 2) == 4 * 2 * 1_024 * per_token
    with pytest.raises(ValueError, match="batch_size=0"):
        cs336_activations(config, 0)
