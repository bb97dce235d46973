"""Models that are more than their weights: text comes from calling their modules.

Each case changes a model so that reading its weights would give something else, or so that somebody
watches it; `calls` counts what was put in.
"""

import contextlib

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn.utils import parametrize, prune

from bytemill.lm import KVCache, Transformer
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.text import generate, stream_text
from bytemill.lm.generate.weights import DecodingWeights, obstacle
from bytemill.lm.model.layers import Embedding, Linear, RMSNorm
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401

NEW = 9


CALLS = []


class Low(nn.Module):
    """A projection with a low-rank addition (LoRA; Hu et al. 2021)."""

    def __init__(self, inner, calls):
        super().__init__()
        d_out, d_in = inner.weight.shape
        self.inner, self.calls = inner, calls
        self.a = nn.Parameter(torch.randn(2, d_in) * 0.3)
        self.b = nn.Parameter(torch.randn(d_out, 2) * 0.3)

    def forward(self, x):
        self.calls.append("low")
        return self.inner(x) + x @ self.a.T @ self.b.T


class Wrapper(nn.Module):
    """As `DataParallel`: holds a model, and hands on what it is called with."""

    def __init__(self, module, calls, factor=1.0):
        super().__init__()
        self.module, self.calls, self.factor = module, calls, factor

    def forward(self, *args, **kwargs):
        self.calls.append("wrapper")
        return self.module(*args, **kwargs) * self.factor


class Louder(nn.Module):
    """Around a block."""

    def __init__(self, block, calls):
        super().__init__()
        self.block, self.calls = block, calls

    def forward(self, x, *rest):
        self.calls.append("louder")
        return 1.3 * self.block(x, *rest)


class CountingNorm(RMSNorm):
    """A subclass that computes something else."""

    def forward(self, x):
        CALLS.append("norm")
        return super().forward(x).abs()


def backend(graph, inputs):
    """Compiles nothing; counts how often the graph is run."""

    def run(*args):
        CALLS.append("compiled")
        return graph.forward(*args)

    return run


def hook_on_a_block(model):
    model.layers[1].register_forward_hook(lambda m, i, out: CALLS.append("hook") or out.flip(-1))


def hook_before_a_projection(model):
    def hook(module, args):
        CALLS.append("hook")
        return (args[0].flip(-1),)

    model.layers[0].attn.k_proj.register_forward_pre_hook(hook)


def hook_that_only_watches(model):
    model.layers[0].ffn.register_forward_hook(lambda m, i, out: CALLS.append("hook") and None)


def hook_on_the_model(model):
    model.register_forward_hook(lambda m, i, out: CALLS.append("hook") or out.flip(-1))


def hook_on_the_head(model):
    model.lm_head.register_forward_hook(lambda m, i, out: CALLS.append("hook") or out.flip(-1))


def hook_on_the_embedding(model):
    model.token_embeddings.register_forward_hook(lambda m, i, o: CALLS.append("hook") or -o)


def low_rank_projection(model):
    model.layers[0].attn.q_proj = Low(model.layers[0].attn.q_proj, CALLS)


def low_rank_head(model):
    model.lm_head = Low(model.lm_head, CALLS)


def biased_head(model):
    head = nn.Linear(64, 97)
    head.register_forward_hook(lambda *_: CALLS.append("head"))
    model.lm_head = head


def head_with_two_layers(model):
    model.lm_head = nn.Sequential(nn.Linear(64, 80), Low(nn.Linear(80, 97), CALLS))


def norm_of_a_subclass(model):
    norm = CountingNorm(64)
    model.layers[1].ln2 = norm


def wrapped_block(model):
    model.layers[0] = Louder(model.layers[0], CALLS)


def one_block_less(model):
    model.layers[0] = Louder(nn.Identity(), CALLS)
    model.layers[0].block.forward = lambda x, *rest: x


def compiled_block(model):
    model.layers[1] = torch.compile(model.layers[1], backend=backend)


def block_compiled_in_place(model):
    model.layers[1].compile(backend=backend)


def forward_of_its_own(model):
    inner = model.layers[0].attn.forward

    def forward(*args):
        CALLS.append("forward")
        return -inner(*args)

    model.layers[0].attn.forward = forward


def parametrization(model):
    class Twice(nn.Module):
        def forward(self, weight):
            CALLS.append("twice")
            return 2 * weight

    parametrize.register_parametrization(model.layers[1].ffn.w2, "weight", Twice())


def weight_norm_by_a_hook(model):
    projection = model.layers[1].attn.v_proj
    projection.register_forward_pre_hook(lambda *_: CALLS.append("hook"))
    prune.random_unstructured(projection, "weight", 0.5)


def shared_block(model):
    model.layers[1] = model.layers[0]
    model.layers[0].register_forward_pre_hook(lambda *_: CALLS.append("hook"))


def hidden_of_its_own(model):
    inner = model.hidden

    def hidden(*args, **kwargs):
        CALLS.append("hidden")
        return inner(*args, **kwargs).flip(-1)

    model.hidden = hidden


def wrapper(model):
    return Wrapper(model, CALLS)


def wrapper_that_changes_logits(model):
    return Wrapper(Wrapper(model, CALLS), CALLS, -1.0)


def data_parallel(model):
    model.register_forward_pre_hook(lambda *_: CALLS.append("hook"))
    return nn.DataParallel(model)


def compiled_model(model):
    return torch.compile(model, backend=backend)


def subclassed_model(model):
    class Quieter(Transformer):
        def forward(self, ids, cache=None, *, lengths=None):
            CALLS.append("quieter")
            return -super().forward(ids, cache, lengths=lengths)

    result = Quieter(model.config)
    result.load_state_dict(model.state_dict())
    return result


CASES = [
    hook_on_a_block, hook_before_a_projection, hook_that_only_watches, hook_on_the_model,
    hook_on_the_head, hook_on_the_embedding, low_rank_projection, low_rank_head, biased_head,
    head_with_two_layers, norm_of_a_subclass, wrapped_block, one_block_less,
    forward_of_its_own, parametrization, weight_norm_by_a_hook,
    shared_block, hidden_of_its_own, wrapper, wrapper_that_changes_logits, data_parallel,
    subclassed_model,
]  # fmt: skip


COMPILED = [compiled_block, block_compiled_in_place, compiled_model]


def changed(change, name="cs336"):
    torch.manual_seed(4)
    model = small_model(name, context_length=32).eval()
    result = change(model)
    result = model if result is None else result
    for parameter in result.parameters():
        parameter.requires_grad_(False)
    return result.eval()


def greedy(model, prompt):
    """Ids, by calling the model with all that was said so far."""
    ids = list(prompt)
    for _ in range(NEW):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("change", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("name", ["cs336", "gpt"])
def test_text_is_that_of_the_modules(change, name):
    model = changed(change, name)
    rows = ids_like(small_model(), 3, 9).tolist()
    rows = [rows[0], rows[1][:4], rows[2][:6]]
    plain = [greedy(small_model(name, context_length=32), row) for row in rows]
    expected = [greedy(model, row) for row in rows]
    options = {"max_new_tokens": NEW, "temperature": 0}
    for prompts, texts in ((rows[:1], expected[:1]), (rows, expected)):
        CALLS.clear()
        assert generate(model, prompts, **options) == texts
        # Once for the prompts, and for each token but the last.
        assert len(CALLS) >= NEW
    # A change that the copied weights know nothing of decides what is said, unless it only watches.
    watches = {"hook_that_only_watches", "wrapper", "data_parallel"}
    assert (expected == plain) == (change.__name__ in watches)


@pytest.mark.parametrize("change", CASES, ids=lambda case: case.__name__)
def test_logits_are_those_of_the_modules(change):
    model = changed(change)
    ids = ids_like(small_model(), 3, 12)
    weights = DecodingWeights(model)
    assert weights.obstacle
    assert not weights.layers  # nothing is copied that is not read
    for lengths in ([5], [3, 7, 1]):
        decoder = Decoder(weights)
        got = decoder.prefill([ids[row, :n].tolist() for row, n in enumerate(lengths)])
        for _ in range(12 - max(lengths)):
            for row, n in enumerate(decoder.lengths):
                expected = model(ids[row : row + 1, :n])[0, -1]
                assert (got[row] - expected).abs().max() <= 1e-5 * expected.abs().max()
            rows = range(len(lengths))
            got = decoder.step(ids[rows, decoder.lengths])


@pytest.mark.parametrize("change", COMPILED, ids=lambda case: case.__name__)
def test_compiled_modules_are_run(change):
    row = ids_like(small_model(), 1, 5)[0].tolist()
    expected = greedy(small_model(context_length=32), row)[:4]
    torch._dynamo.reset()
    model = changed(change)
    CALLS.clear()
    assert obstacle(model)
    assert generate(model, [row], max_new_tokens=4, temperature=0) == [expected]
    # Once for the prompt, and for each token but the last.
    assert len(CALLS) >= 4


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


def test_in_another_dtype():
    model = changed(biased_head)
    weights = DecodingWeights(model, torch.bfloat16)
    decoder = Decoder(weights)
    decoder.prefill([[1, 2, 3], [4]])
    got = decoder.step(torch.tensor([5, 6]))
    expected = torch.stack([model(torch.tensor([r]))[0, -1] for r in ([1, 2, 3, 5], [4, 6])])
    assert 0 < (got - expected).norm() < 0.03 * expected.norm()


def test_streamed_text_of_a_wrapped_model():
    from bytemill import Tokenizer

    tokenizer = Tokenizer.from_ranks({bytes([i]): i for i in range(256)})
    model = small_model(vocab_size=256).eval().requires_grad_(False)
    options = {"max_new_tokens": 12, "temperature": 0}
    text = "".join(stream_text(model, tokenizer, "abc", **options))
    assert "".join(stream_text(Wrapper(model, CALLS), tokenizer, "abc", **options)) == text


def test_what_is_not_a_model():
    for other in (nn.Linear(3, 3), nn.ModuleList([small_model("gpt"), small_model("cs336")])):
        with pytest.raises(TypeError, match="give a Transformer"):
            generate(other, [[1]], max_new_tokens=1)


def test_a_cache_of_a_wrapped_model_is_filled():
    model = changed(wrapper)
    cache = KVCache(model.module.config, 1)
    model(torch.tensor([[1, 2, 3]]), cache)
    assert cache.lengths == (3,)


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
