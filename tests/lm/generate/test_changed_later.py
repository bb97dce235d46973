"""Models that change after their weights were copied, or whose classes do."""

import contextlib

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bytemill.lm import Transformer
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.layers import Linear
from tests.support.changed_models import (
    CALLS,
    NEW,
    changed,
    forward_of_its_own,
    greedy,
    hook_on_a_block,
    low_rank_projection,
)
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401


@contextlib.contextmanager
def global_hook(model):
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, args, out: CALLS.append("all") or (-out if type(module) is Linear else out)
    )
    yield
    handle.remove()


@contextlib.contextmanager
def changed_class(model):
    inner = Linear.forward
    Linear.forward = lambda self, x: CALLS.append("class") or -inner(self, x)
    yield
    Linear.forward = inner


@pytest.mark.parametrize("change", [global_hook, changed_class])
def test_changes_of_all_modules(change):
    model = changed(lambda model: None)
    row = ids_like(model, 1, 6)[0].tolist()
    plain = greedy(model, row)
    with change(model):
        expected = greedy(model, row)
        CALLS.clear()
        assert generate(model, [row], max_new_tokens=NEW, temperature=0) == [expected]
        assert len(CALLS) >= NEW
    assert expected != plain
    assert generate(model, [row], max_new_tokens=NEW, temperature=0) == [plain]


@pytest.mark.parametrize("change", [hook_on_a_block, low_rank_projection, forward_of_its_own])
def test_changes_after_the_weights_were_copied(change):
    model = changed(lambda model: None)
    weights = DecodingWeights(model)
    row = ids_like(model, 1, 6)[0].tolist()
    options = {"max_new_tokens": NEW, "temperature": 0}
    plain = greedy(model, row)
    assert generate(weights, [row], **options) == [plain]
    change(model)
    expected = greedy(model, row)
    assert expected != plain
    assert generate(weights, [row], **options) == [expected]


def test_training_does_not_change_the_copy():
    model = changed(lambda model: None)
    ids = ids_like(model, 1, 8)
    decoder, expected = Decoder(DecodingWeights(model)), model(ids)[0, -1]
    decoder.prefill([ids[0, :7].tolist()])
    with torch.no_grad():
        model.layers[0].ffn.w1.weight.mul_(2)
    torch.testing.assert_close(decoder.step(ids[0, 7:])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["hidden", "logits"])
def test_a_method_of_the_class_that_was_changed(name, monkeypatch):
    model = small_model()
    before = generate(model, [[1, 2, 3]], max_new_tokens=8, temperature=0)
    own = getattr(Transformer, name)
    monkeypatch.setattr(Transformer, name, lambda *args, **options: -own(*args, **options))
    row = [1, 2, 3]
    for _ in range(8):
        with torch.no_grad():
            row.append(int(model(torch.tensor([row]))[0, -1].argmax()))
    found = generate(model, [[1, 2, 3]], max_new_tokens=8, temperature=0)
    assert found == [row[3:]] and found != before
