"""Modules around Transformers that a cache cannot serve: refused, with what would do."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bytemill.lm.generate.text import generate
from tests.support.lm_runs import tiny_model


class Mean(nn.Module):
    """The mean of what several calls give."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, ids, cache=None, lengths=None):
        return sum(part(ids, cache, lengths=lengths) for part in self.parts) / len(self.parts)


def test_a_cache_serves_one_call():
    model = tiny_model()
    several = "the Mean gave its cache to several calls of a Transformer"
    for wrapper in (Mean(model, model), Mean(model, tiny_model(seed=1))):
        with pytest.raises(ValueError, match=several):
            generate(wrapper, [[1, 2, 3]], max_new_tokens=4)
    with pytest.raises(TypeError, match="a Mean with 2 Transformers of different configs in it"):
        generate(Mean(model, tiny_model(n_layer=1)), [[1, 2, 3]])
    with pytest.raises(TypeError, match="a Linear with no Transformer in it"):
        generate(nn.Linear(2, 2), [[1, 2, 3]])
    options = {"max_new_tokens": 5, "temperature": 0}
    assert generate(Mean(model), [[1, 2, 3]], **options) == generate(model, [[1, 2, 3]], **options)


def test_a_block_that_comes_twice_is_computed_twice():
    model = tiny_model()
    model.layers[1] = model.layers[0]
    ids, row = [1, 2, 3], []
    for _ in range(5):
        logits = model(torch.tensor([ids + row]))[0, -1]
        row.append(int(logits.argmax()))
    assert generate(model, [ids], max_new_tokens=5, temperature=0) == [row]
