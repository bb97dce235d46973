"""Evaluation against sums worked out by hand in fp64."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.batches.tokens import Tokens, open_tokens
from bytemill.lm.batches.vocabulary import separator
from bytemill.lm.evaluate.corpus import evaluate
from tests.support.one_thread import one_thread  # noqa: F401

T = 16
BYTES = {bytes([i]): i for i in range(256)}
TOKENIZER = Tokenizer.from_ranks({**BYTES, b"ab": 256, b"abc": 257}, {"<|endoftext|>": 258})
TEXTS = ["abcab and so on, ", "été", "", "abcabc" * 9]


def make(name: str = "cs336", vocab_size: int = 264) -> Transformer:
    config = ModelConfig.preset(
        name, vocab_size=vocab_size, context_length=T, d_model=16, n_layer=2, n_head=2
    )
    generator = torch.Generator().manual_seed(5)
    model = Transformer(config, generator=generator).requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def joined(texts: list[str] = TEXTS) -> list[int]:
    return [id_ for text in texts for id_ in [258, *TOKENIZER.encode_ordinary(text)]]


def by_hand(model: Transformer, ids: list[int], stride: int) -> list[float]:
    """-log p of each token but the first, one forward pass each, in fp64."""
    model = model.double()
    result = []
    for i in range(1, len(ids)):
        # The first window that reaches token i; windows begin at multiples of the stride.
        start = 0
        while start + T < i:
            start += stride
        logits = model(torch.tensor([ids[start:i]])).double().numpy()[0, -1]
        shifted = logits - logits.max()
        result.append(float(np.log(np.exp(shifted).sum()) - shifted[ids[i]]))
    model.float()
    return result


@pytest.mark.parametrize("name", ["cs336", "gpt"])
@pytest.mark.parametrize("stride", [None, 1, 5, T])
def test_figures_are_those_worked_out_by_hand(name, stride):
    model, ids = make(name), joined()
    expected = by_hand(model, ids, stride or T)
    found = evaluate(model, TEXTS, TOKENIZER, stride=stride)
    assert found.n_tokens == len(ids) - 1
    assert found.loss == pytest.approx(math.fsum(expected) / len(expected), rel=1e-6)
    assert found.perplexity == math.exp(found.loss)
    assert found.n_bytes == sum(len(text.encode()) for text in TEXTS)
    text = [nll for nll, id_ in zip(expected, ids[1:], strict=True) if id_ != 258]
    bits = math.fsum(text) / math.log(2) / found.n_bytes
    assert found.bits_per_byte == pytest.approx(bits, rel=1e-6)


@pytest.mark.parametrize("n", [2, T, T + 1, T + 2, 2 * T, 2 * T + 1, 40])
def test_every_token_counts_once(n):
    model, ids = make(), joined()[:n]
    for stride in (3, T):
        found = evaluate(model, Tokens.of(np.array(ids)), stride=stride)
        expected = by_hand(model, ids, stride)
        assert found.n_tokens == n - 1
        assert found.loss == pytest.approx(math.fsum(expected) / (n - 1), rel=1e-6)
        assert found.bits_per_byte is None
        assert found == evaluate(model, Tokens.of(np.array(joined())), max_tokens=n, stride=stride)


def test_the_same_each_time_however_it_is_cut():
    model = make()
    found = evaluate(model, TEXTS, TOKENIZER)
    assert evaluate(model, TEXTS, TOKENIZER) == found
    for batch_size in (1, 3, 100):
        other = evaluate(model, iter(TEXTS), TOKENIZER, batch_size=batch_size)
        assert other.loss == pytest.approx(found.loss, rel=1e-7)
    seen = []
    evaluate(model, TEXTS, TOKENIZER, batch_size=2, progress=lambda *at: seen.append(at))
    assert seen == sorted(seen)
    assert seen[-1] == (found.n_tokens, found.n_tokens)


def test_shards_and_files_give_what_the_texts_give(tmp_path):
    (tmp_path / "t.txt").write_text("<|endoftext|>".join(TEXTS))
    TOKENIZER.encode_files(
        tmp_path / "t.txt", tmp_path / "s", separator="<|endoftext|>", separator_at="start"
    )
    model = make()
    texts = [text for text in TEXTS if text]  # files drop empty documents
    found = evaluate(model, open_tokens(tmp_path / "s"), TOKENIZER)
    assert found == evaluate(model, texts, TOKENIZER)
    other = Tokenizer.from_ranks({**BYTES, b"xy": 256}, {"<|endoftext|>": 257})
    with pytest.raises(ValueError, match="another tokenizer"):
        evaluate(model, open_tokens(tmp_path / "s"), other)


def test_a_uniform_model_has_the_entropy_of_its_vocabulary():
    model = make()
    model.lm_head.weight.zero_()
    found = evaluate(model, "a plain text", TOKENIZER)
    assert found.loss == pytest.approx(math.log(264), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(math.log2(264), rel=1e-6)


def test_separators():
    assert separator(TOKENIZER) == 258
    assert separator(Tokenizer.from_ranks(BYTES)) is None
    assert separator(Tokenizer.from_ranks(BYTES, {"<s>": 300})) == 300
    assert separator(Tokenizer.from_ranks(BYTES, {"<s>": 300, "</s>": 301})) is None
    assert separator(Tokenizer.from_ranks(BYTES, {"<s>": 300, "<|bos|>": 301})) == 301


def test_bad_input():
    model, some = make(), Tokens.of(np.arange(40))
    for options in (
        {"stride": 0},
        {"stride": T + 1},
        {"batch_size": 0},
        {"batch_size": 10**12},
        {"max_tokens": 1},
    ):
        name, value = next(iter(options.items()))
        with pytest.raises(ValueError, match=f"{name}={value}"):
            evaluate(model, some, **options)
    with pytest.raises(ValueError, match="1 tokens"):
        evaluate(model, Tokens.of(np.arange(1)))
    with pytest.raises(ValueError, match="ids go up to 264"):
        evaluate(model, Tokens.of(np.array([1, 264])))
    with pytest.raises(ValueError, match="tokenizer has 259 ids, the model 100"):
        evaluate(make(vocab_size=100), some, TOKENIZER)
    with pytest.raises(TypeError, match="without the model's tokenizer"):
        evaluate(model, TEXTS)
    model.ln_final.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="loss is nan"):
        evaluate(model, some)
