"""Models whose parts are not what their config says: `obstacle` tells, and the modules write."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import obstacle
from bytemill.lm.model.layers import Embedding, Linear
from tests.support.changed_models import NEW, changed, greedy
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401


def quieter_norm(model):
    model.layers[0].ln1.eps = 0.7


def narrower_window(model):
    model.layers[0].attn.window = 2


def norms_elsewhere(model):
    model.layers[0].norms = small_model(norm_position="post").config.norms


def another_activation(model):
    model.layers[0].ffn.mlp = "silu"


def more_parameters(model):
    model.layers[0].attn.extra = nn.Parameter(torch.ones(1))


def more_buffers(model):
    model.layers[0].register_buffer("extra", torch.ones(1))


def more_modules(model):
    model.layers[0].extra = nn.Identity()


def other_widths(model):
    ffn = model.layers[0].ffn
    ffn.w1, ffn.w3, ffn.w2 = Linear(64, 24), Linear(64, 24), Linear(24, 64)


def two_dtypes(model):
    model.layers[0].ffn.double()


def wide(model):
    model.double()


@pytest.mark.parametrize(
    "change",
    [
        quieter_norm, narrower_window, norms_elsewhere, another_activation, more_parameters,
        more_buffers, more_modules, other_widths, two_dtypes, wide,
    ],
)  # fmt: skip
def test_parts_that_are_not_as_the_config_says(change):
    model = changed(lambda model: None)
    assert obstacle(model) is None
    change(model)
    assert obstacle(model)
    if change is two_dtypes:
        return  # what the modules cannot compute either
    row = ids_like(model, 1, 6)[0].tolist()
    found = generate(model, [row], max_new_tokens=NEW, temperature=0)
    assert found == [greedy(model, row)]


def test_a_tied_head_whose_embedding_was_replaced():
    model = small_model(tie_embeddings=True).eval().requires_grad_(False)
    assert obstacle(model) is None
    model.token_embeddings = Embedding(97, 64, generator=torch.Generator().manual_seed(8))
    assert "tied" in obstacle(model)
    row = ids_like(model, 1, 6)[0].tolist()
    found = generate(model, [row], max_new_tokens=NEW, temperature=0)
    assert found == [greedy(model, row)]


def test_dropout_in_training_is_not_passed_over():
    model = small_model(dropout=0.5).requires_grad_(False)
    assert "eval()" in obstacle(model)
    options = {"max_new_tokens": NEW, "temperature": 0}
    texts = set()
    for seed in range(6):
        torch.manual_seed(seed)
        texts.add(tuple(generate(model, [[1, 2]], **options)[0]))
    assert len(texts) > 1
    assert obstacle(model.eval()) is None


def test_what_is_not_a_model():
    for other in (nn.Linear(3, 3), nn.ModuleList([small_model("gpt"), small_model("cs336")])):
        with pytest.raises(TypeError, match="give a Transformer"):
            generate(other, [[1]], max_new_tokens=1)
