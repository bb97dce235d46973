"""Requests as the lm-evaluation-harness makes them, against naive answers."""

import random

import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm.evaluate.requests import Requests
from bytemill.lm.generate.text import generate
from tests.support.chats import chat_tokenizer, with_added_text
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

TOKENIZER = chat_tokenizer()
BOS = TOKENIZER.special_tokens["<|bos|>"]
T = 40
WORDS = ["the", "low", "er", "new", "est", "wid", "12", "don't", "你好", "👍", "a", "b"]


@pytest.fixture(scope="module")
def model():
    made = small_model("gpt", vocab_size=TOKENIZER.n_vocab, context_length=T)
    return made.eval().requires_grad_(False)


def text(r, least, most):
    return " ".join(r.choices(WORDS, k=r.randint(least, most)))


def logs_of(model, ids):
    return model(torch.tensor([ids]))[0].double().log_softmax(-1)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_loglikelihoods_one_by_one(model, batch_size):
    r = random.Random(0)
    pairs = []
    for _ in range(12):
        context = r.choice(["", text(r, 20, 60), text(r, 1, 5) + "  "])
        pairs += [(context, r.choice(["", " "]) + text(r, 1, 4)) for _ in range(r.randint(1, 3))]
    pairs.append(("the lo", "w"))  # one token with both
    found = Requests(model, TOKENIZER, batch_size=batch_size).loglikelihoods(pairs)
    n_long = 0
    for (context, continuation), (total, is_greedy) in zip(pairs, found, strict=True):
        ids = [BOS, *TOKENIZER.encode_ordinary(context + continuation)]
        start = min(1 + len(TOKENIZER.encode_ordinary(context.rstrip())), len(ids) - 1)
        lost = max(len(ids) - T - 1, 0)
        n_long += lost > 0
        ids, start = ids[lost:], start - lost
        logs = logs_of(model, ids[:-1])
        want = sum(float(logs[i - 1, ids[i]]) for i in range(start, len(ids)))
        assert total == pytest.approx(want, abs=1e-4)
        assert is_greedy == all(int(logs[i - 1].argmax()) == ids[i] for i in range(start, len(ids)))
    assert n_long


def test_what_the_model_writes_is_greedy(model):
    requests = Requests(model, TOKENIZER)
    written = requests.written(["the low"], max_new_tokens=6)[0]
    ids = [BOS, *TOKENIZER.encode_ordinary("the low")]
    new = generate(model, [ids], max_new_tokens=6, temperature=0)[0]
    if TOKENIZER.encode_ordinary("the low" + written) == [*ids[1:], *new]:
        (found,) = requests.loglikelihoods([("the low", written)])
        assert found[1]
    assert not requests.loglikelihoods([("the low", " 你好你好")])[0][1]


@pytest.mark.parametrize("n", [0, 1, T - 1, T, T + 1, 2 * T, 3 * T + 7])
def test_rolling_scores_every_token_once(model, n):
    r = random.Random(n)
    texts = ["".join(r.choices("abcxyz.,", k=n)), text(r, 3, 6)]
    found = Requests(model, TOKENIZER, batch_size=3).rolling(texts)
    for one, total in zip(texts, found, strict=True):
        ids = [BOS, *TOKENIZER.encode_ordinary(one)]
        want, start = 0.0, 1
        while start < len(ids):
            end = min(start + T, len(ids))
            window = ids[max(end - T - 1, 0) : end]
            logs = logs_of(model, window[:-1])
            for back in range(end - start):
                want += float(logs[len(logs) - 1 - back, window[len(window) - 1 - back]])
            start = end
        assert total == pytest.approx(want, abs=1e-3)


def test_written_ends_where_it_is_told(model):
    prompts = ["the low", "a b " * 60, "new", "你好 12"]
    whole = Requests(model, TOKENIZER).written(prompts, max_new_tokens=12)
    assert len(set(map(len, whole))) > 1
    for prompt, one in zip(prompts, whole, strict=True):
        ids = [BOS, *TOKENIZER.encode_ordinary(prompt)][-(T - 12) :]
        special = TOKENIZER.special_tokens.values()
        new = generate(model, [ids], max_new_tokens=12, temperature=0, stop=list(special))[0]
        assert one == TOKENIZER.decode(new)
    ends = [whole[0][5:7], whole[1][3:4], "never there", ""]
    for batch_size in (1, 3):
        found = Requests(model, TOKENIZER, batch_size=batch_size).written(
            prompts, until=ends, max_new_tokens=12
        )
        for one, cut in zip(whole, found, strict=True):
            places = [one.find(end) for end in ends[:3] if end in one]
            assert cut == one[: min(places, default=len(one))]
    assert found[0] == whole[0][: len(found[0])] and found[0] != whole[0]
    sampled = Requests(model, TOKENIZER).written(prompts, max_new_tokens=12, temperature=1.0)
    assert sampled != whole
    again = Requests(model, TOKENIZER, batch_size=2)
    assert again.written(prompts, max_new_tokens=12, temperature=1.0) == sampled


def test_an_added_token_that_is_text_ends_nothing(tmp_path):
    """What a model writes goes on after a run of spaces, where a tokenizer.json adds such."""
    tokenizer = with_added_text(tmp_path, "    ")
    model = small_model("gpt", vocab_size=tokenizer.n_vocab, context_length=T).eval()
    prompt = [BOS, *tokenizer.encode_ordinary("low")]
    with torch.no_grad():  # it says spaces, and what has the id 0
        model.lm_head.weight.zero_()
        model.lm_head.weight[TOKENIZER.n_vocab] = model.hidden(torch.tensor([prompt]))[0, -1]
    written = generate(model, [prompt], max_new_tokens=3, temperature=0)[0]
    assert TOKENIZER.n_vocab in written
    requests = Requests(model, tokenizer)
    assert requests.written(["low"], max_new_tokens=3) == [tokenizer.decode(written)]


def test_bad_input(model):
    requests = Requests(model, TOKENIZER)
    for pair, message in (
        (("x", ""), "the continuation is empty"),
        (("", ""), "the continuation is empty"),
        (("x", "ab.c" * 60), "more than the context length 40"),
    ):
        with pytest.raises(ValueError, match=message):
            requests.loglikelihoods([pair])
    for n in (0, T + 1):
        with pytest.raises(ValueError, match=f"max_new_tokens={n}"):
            requests.written(["x"], max_new_tokens=n)
    with pytest.raises(ValueError, match="batch_size=0"):
        Requests(model, TOKENIZER, batch_size=0)
    plain = Tokenizer.train(["the low"], 257, ["<|x|>"])
    with pytest.raises(ValueError, match=r"neither <\|bos\|> nor"):
        Requests(model, plain)
    assert requests.loglikelihoods([]) == requests.rolling([]) == []
    assert requests.written([], max_new_tokens=5) == []
