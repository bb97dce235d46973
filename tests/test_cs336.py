"""CS336's assignment 1 by its handout: what its own tests ask for, but for the model.

The model's part is in tests/lm/model/test_cs336_adapters.py. All goes through the adapters, with
the assignment's names; expected values come from tiktoken, torch and naive versions.
"""

import collections
import io
import itertools
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.support import naive
from tests.support.cs336 import (
    get_adamw_cls,
    get_tokenizer,
    run_cross_entropy,
    run_get_batch,
    run_get_lr_cosine_schedule,
    run_gradient_clipping,
    run_load_checkpoint,
    run_save_checkpoint,
    run_softmax,
    run_train_bpe,
)
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.vocabularies import CACHE, generated_text

END = "<|endoftext|>"
STORY = f"Once upon a time there was a cat named Tom.\nTom's hat was red.\n{END}\nThe end.\n\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Some 130 kB of text, as large as the assignment's sample of English."""
    path = tmp_path_factory.mktemp("cs336") / "corpus.txt"
    path.write_text(END.join(generated_text(seed, 500) for seed in range(50)), encoding="utf-8")
    return path


# Training a tokenizer


def test_train_bpe_speed(corpus):
    best = math.inf
    for _ in range(3):
        start = time.process_time()  # of all threads, whatever else the machine does
        run_train_bpe(corpus, 500, [END])
        best = min(best, time.process_time() - start)
    assert best < 1.5


def test_train_bpe(corpus):
    vocab, merges = run_train_bpe(corpus, 320, [END])
    counts = naive.count([corpus.read_text("utf-8")], special_tokens=[END])
    assert merges == naive.train(counts, 320 - 257)
    assert len(vocab) == 320 and END.encode() in vocab.values()
    joined = {left + right for left, right in merges}
    assert set(vocab.values()) == {bytes([b]) for b in range(256)} | joined | {END.encode()}


def test_train_bpe_special_tokens(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text(f"a story <|about|> cats.{END}" * 300, encoding="utf-8")
    vocab, merges = run_train_bpe(path, 300, [END])
    special = [token for token in vocab.values() if token == END.encode()]
    assert len(special) == 1
    assert all(b"endof" not in token for token in vocab.values() if token != END.encode())
    assert merges == naive.train(naive.count(["a story <|about|> cats."] * 300), 300 - 257)


# Encoding and decoding, beside tiktoken


@pytest.fixture(scope="module")
def gpt2():
    """GPT-2's vocabulary as vocab and merges, and tiktoken's encoding of it."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    if not CACHE.is_dir():
        pytest.skip(f"no tiktoken cache at {CACHE}; set BYTEMILL_TIKTOKEN_CACHE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
        encoding = tiktoken.get_encoding("gpt2")
    ranks = encoding._mergeable_ranks
    vocab = {rank: token for token, rank in ranks.items()}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:  # the two parts it falls into when only lower ranks are merged
            parts = [bytes([byte]) for byte in token]
            while len(parts) > 2:
                found = [ranks.get(a + b, rank) for a, b in itertools.pairwise(parts)]
                at = found.index(min(found))
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            merges.append(tuple(parts))
    return vocab, merges, encoding


TEXTS = [
    "",
    "s",
    "🙃",
    "Hello, how are you?",
    "Héllò hôw are ü? 🙃",
    f"Héllò hôw {END}{END} are ü? 🙃{END}",
    f"{END}\n",
    f"{END}\n\nnext",
    f"{END}\n\n",
    "Four score and seven years ago our fathers brought forth, upon this continent, a new nation",
    "Die Leland Stanford Junior University (kurz Stanford University oder Stanford) ist größer",
    STORY * 3,
    "\t tabs\r\nand  runs   of    spaces \u3000\n \n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_roundtrip_and_tiktoken(text, gpt2, tmp_path):
    vocab, merges, encoding = gpt2
    tokenizer = get_tokenizer(vocab, merges, [END])
    ids = tokenizer.encode(text)
    assert ids == encoding.encode(text, allowed_special={END})
    assert tokenizer.decode(ids) == text
    assert [tokenizer.decode([i]) for i in ids] == [encoding.decode([i]) for i in ids]
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    with path.open(encoding="utf-8", newline="") as file:
        assert list(tokenizer.encode_iterable(file)) == ids
    without = get_tokenizer(vocab, merges)
    assert without.encode(text) == encoding.encode(text, disallowed_special=())


def test_special_tokens_stay_whole_and_the_longest_wins(gpt2):
    vocab, merges, _ = gpt2
    tokenizer = get_tokenizer(vocab, merges, [END, END * 2])
    text = f"Hello, how {END * 2} are you?{END}"
    tokens = [tokenizer.decode([id_]) for id_ in tokenizer.encode(text)]
    assert [tokens.count(END), tokens.count(END * 2)] == [1, 1]
    assert "".join(tokens) == text
    assert list(tokenizer.encode_iterable(text)) == tokenizer.encode(text)


# Memory, in this process with all that it holds: the limits are those of the assignment's tests


def limited(work):
    """What `work` returns where the address space ends a megabyte above what is resident."""
    resource = pytest.importorskip("resource", reason="needs Linux's RLIMIT_AS")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (resident + 1_000_000, before[1]))
    try:
        return work()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    path = tmp_path_factory.mktemp("cs336") / "stories.txt"
    path.write_text(STORY * (5_000_000 // len(STORY)), encoding="utf-8")
    return path


needs_limits = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs Linux's RLIMIT_AS"
)


@needs_limits
def test_encode_iterable_memory_usage(corpus, stories):
    tokenizer = get_tokenizer(*run_train_bpe(corpus, 1000, [END]), [END])
    ids = tokenizer.encode(stories.read_text("utf-8"))
    assert len(ids) > 500_000
    # As its decorator does with a generator: the limit holds while the call is made.
    with stories.open(encoding="utf-8") as file:
        assert list(limited(lambda: tokenizer.encode_iterable(file))) == ids
    # Here while the ids are taken, too, which is what it is about.
    with stories.open(encoding="utf-8") as file:
        assert limited(lambda: sum(tokenizer.encode_iterable(file))) == sum(ids)


@needs_limits
@pytest.mark.parametrize("is_fresh", [False, True], ids=["used", "fresh"])
def test_encode_memory_usage(is_fresh, corpus, stories):
    """The assignment expects this one to fail; it must not end the process."""
    vocab, merges = run_train_bpe(corpus, 1000, [END])
    tokenizer, other = (get_tokenizer(vocab, merges, [END]) for _ in range(2))
    text = stories.read_text("utf-8")
    ids = other.encode(text)
    if not is_fresh:
        tokenizer.encode(text)
    long = text * 6  # more than any memory that is free already
    with pytest.raises(MemoryError):
        limited(lambda: tokenizer.encode(long))
    assert tokenizer.encode(text) == ids, "it can be used afterwards"


# Training a model


def test_softmax_and_cross_entropy():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.softmax(x, -1)
    torch.testing.assert_close(run_softmax(x, dim=-1), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(run_softmax(x + 100, dim=-1), expected, rtol=0, atol=1e-5)
    targets = torch.tensor([1, 0, 4])
    for scale in (1.0, 1000.0):
        expected = torch.nn.functional.cross_entropy(scale * x, targets)
        torch.testing.assert_close(run_cross_entropy(scale * x, targets), expected)
    # With axes before: the mean over all of them.
    deep, places = x.view(1, 3, 5).expand(2, 3, 5), targets.expand(2, 3)
    torch.testing.assert_close(run_cross_entropy(deep, places), run_cross_entropy(x, targets))


def test_gradient_clipping():
    tensors = [torch.randn(5, 5, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    theirs, ours = ([torch.nn.Parameter(t.clone()) for t in tensors] for _ in range(2))
    for some in (theirs, ours):
        some[-1].requires_grad_(False)  # one without a gradient
        torch.cat(some).sum().mul(3).backward()
    torch.nn.utils.clip_grad_norm_(theirs, 1e-2)
    run_gradient_clipping(ours, 1e-2)
    for one, other in zip(theirs, ours, strict=True):
        if one.grad is None:
            assert other.grad is None
        else:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=0)


def optimize(make):
    generator = torch.Generator().manual_seed(42)
    model = torch.nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 3, generator=generator))
    optimizer = make(model.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(1000):
        optimizer.zero_grad()
        x = torch.rand(3, generator=generator)
        y = torch.tensor([x[0] + x[1], -x[2]])
        ((y - model(x)) ** 2).sum().backward()
        optimizer.step()
    return model.weight.detach()


def test_adamw():
    start = optimize(lambda *args, **options: get_adamw_cls()(*args, **{**options, "lr": 0.0}))
    expected = optimize(torch.optim.AdamW)
    moved = (expected - start).abs().max()
    got = optimize(get_adamw_cls())
    assert (got - expected).abs().max() < 1e-4 * moved


def test_cosine_schedule():
    # The handout's formulas, with 7 steps of warm-up and 21 to the end of the cosine.
    got = [run_get_lr_cosine_schedule(it, 1.0, 0.1, 7, 21) for it in range(25)]
    warm = [it / 7 for it in range(7)]
    down = [0.1 + 0.5 * (1 + math.cos((it - 7) / 14 * math.pi)) * 0.9 for it in range(7, 22)]
    np.testing.assert_allclose(got, [*warm, *down, 0.1, 0.1, 0.1], rtol=1e-12)


def test_get_batch():
    dataset, batch, context = np.arange(100), 32, 7
    starts = collections.Counter()
    for _ in range(1000):
        x, y = run_get_batch(dataset, batch, context, "cpu")
        assert x.shape == y.shape == (batch, context) and x.dtype == y.dtype == torch.int64
        assert torch.equal(x + 1, y)
        starts.update(x[:, 0].tolist())
    assert set(starts) == set(range(100 - context))
    expected = 1000 * batch / (100 - context)
    # Each is within five standard deviations of a binomial.
    assert max(abs(n - expected) for n in starts.values()) < 5 * math.sqrt(expected)
    with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|cuda|NVIDIA|device"):
        run_get_batch(dataset, batch, context, "cuda:99")


@pytest.mark.parametrize("as_path", [True, False])
def test_checkpointing(as_path, tmp_path):
    def make(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))
        return model, get_adamw_cls()(model.parameters(), lr=1e-3, weight_decay=0.01)

    def train(model, optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(4, 10, generator=generator)).square().mean().backward()
            optimizer.step()

    model, optimizer = make(0)
    train(model, optimizer, 0)
    if as_path:
        place = source = os.fspath(tmp_path / "checkpoint.pt")
        run_save_checkpoint(model, optimizer, 10, place)
    else:
        place = io.BytesIO()
        run_save_checkpoint(model, optimizer, 10, place)
        source = io.BytesIO(place.getvalue())
    other, its = make(1)
    assert run_load_checkpoint(source, other, its) == 10
    for one, new in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, new)
    # The optimizer's state decides the next steps.
    train(model, optimizer, 1)
    train(other, its, 1)
    for one, new in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, new)
