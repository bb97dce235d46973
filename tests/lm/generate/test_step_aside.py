"""Models that are more than their weights: text comes from calling their modules.

Each case changes a model so that reading its weights would give something else, or so that somebody
watches it; `CALLS` counts what was put in.
"""

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn.utils import parametrize, prune

from bytemill.lm import KVCache, Transformer
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.text import generate, stream_text
from bytemill.lm.generate.weights import DecodingWeights, obstacle
from bytemill.lm.model.layers import RMSNorm
from tests.support.changed_models import (
    CALLS,
    NEW,
    Low,
    Wrapper,
    biased_head,
    changed,
    forward_of_its_own,
    greedy,
    hook_on_a_block,
    low_rank_projection,
    wrapper,
)
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401


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


def low_rank_head(model):
    model.lm_head = Low(model.lm_head, CALLS)


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


def test_a_cache_of_a_wrapped_model_is_filled():
    model = changed(wrapper)
    cache = KVCache(model.module.config, 1)
    model(torch.tensor([[1, 2, 3]]), cache)
    assert cache.lengths == (3,)
