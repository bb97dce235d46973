"""Replies against a naive engine: one row at a time, all of it read anew for each token."""

import itertools
import random

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message, Renderer
from bytemill.lm.generate.replies import replies, reply_steps
from bytemill.lm.generate.sampling import Chance, Sampling
from bytemill.tools import CalculatorError, calculate
from tests.support.callers import calling_model
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

TOKENIZER = chat_tokenizer()
RENDERER = Renderer(TOKENIZER)
S = RENDERER.special
T = 64


@pytest.fixture(scope="module")
def model():
    return calling_model(RENDERER, T)


def prompts(n, seed=0):
    r = random.Random(seed)
    made = []
    for _ in range(n):
        asked = "".join(r.choices(["the ", "low ", "1+2 ", "你好"], k=r.randint(1, 5)))
        made.append(RENDERER.prompt(Conversation((Message("user", asked),))))
    return made


def naive(model, prompt, seed, max_new_tokens, sampling):
    chance = Chance([seed])
    ids, mask, forced, start = [], [], [], None
    while True:
        logits = model(torch.tensor([prompt + ids]))[:, -1, : TOKENIZER.n_vocab]
        token = sampling.choose(logits, chance.next()).item()
        is_forced = bool(forced)
        if is_forced:
            token = forced.pop(0)
        ids.append(token)
        mask.append(int(not is_forced))
        if token == S["<|assistant_end|>"] and not is_forced:
            return ids, mask, "stop"
        if token == S["<|python_start|>"] and not is_forced:
            start = len(ids)
        if token == S["<|python_end|>"] and not is_forced and start is not None:
            inner, start = ids[start:-1], None
            if not any(map(TOKENIZER.is_special_token, inner)):
                try:
                    result = calculate(TOKENIZER.decode(inner))
                    forced = [S["<|output_start|>"], *TOKENIZER.encode_ordinary(result),
                              S["<|output_end|>"]]  # fmt: skip
                except CalculatorError:
                    pass
        if len(ids) == max_new_tokens or len(prompt) + len(ids) == T + 1:
            return ids, mask, "length"


@pytest.mark.parametrize("settings", [{"temperature": 1.0, "top_k": 40}, {"temperature": 0}])
def test_as_the_naive_engine(model, settings):
    given = prompts(6)
    given += given[:3]  # read once, sampled twice
    seeds = list(range(100, 109))
    found = replies(model, RENDERER, given, max_new_tokens=45, seed=seeds, **settings)
    for reply, prompt, seed in zip(found, given, seeds, strict=True):
        ids, mask, finish = naive(model, prompt, seed, 45, Sampling(**settings))
        assert (reply.ids, reply.mask, reply.finish) == (ids, mask, finish)
    if settings["temperature"]:
        assert {reply.finish for reply in found} == {"stop", "length"}
        assert any(not all(reply.mask) for reply in found)


def test_calls_are_worked_out_and_rendered_again_with_the_same_ids(model):
    given = prompts(40, seed=1)
    found = replies(model, RENDERER, given, max_new_tokens=50, seed=1)
    n_results = n_refused = n_stopped = 0
    for prompt, reply in zip(given, found, strict=True):
        assert len(prompt) + len(reply.ids) <= T + 1
        assert max(reply.ids) < TOKENIZER.n_vocab
        parts = reply.message.parts
        for before, part in itertools.pairwise(parts):
            if before.type == "python":
                try:
                    expected = calculate(before.text)
                except CalculatorError:
                    expected = None
                    n_refused += 1
                if part.type == "python_output" and expected is not None:
                    assert expected.startswith(part.text)  # the limit may cut it
                    n_results += 1
        n_stopped += reply.finish == "stop"
        assert reply.mask.count(0) == 0 or any(p.type == "python_output" for p in parts)
    assert n_results and n_refused and n_stopped


def test_rows_do_not_depend_on_each_other(model):
    given = prompts(5, seed=2)
    together = replies(model, RENDERER, given, max_new_tokens=30, seed=7)
    for row, prompt in enumerate(given):
        (alone,) = replies(model, RENDERER, [prompt], max_new_tokens=30, seed=7 + row)
        assert alone == together[row]
    steps = list(reply_steps(model, RENDERER, given, max_new_tokens=30, seed=7))
    for row, reply in enumerate(together):
        tokens = [step[row] for step in steps if step[row] is not None]
        assert [t.id for t in tokens] == reply.ids
        assert [int(not t.is_forced) for t in tokens] == reply.mask


def test_without_a_tool_nothing_is_forced(model):
    found = replies(model, RENDERER, prompts(20, seed=1), max_new_tokens=40, seed=1, tool=None)
    assert all(all(reply.mask) for reply in found)
    called = []

    def tool(expression):
        called.append(expression)
        return "<|assistant_end|>"

    found = replies(model, RENDERER, prompts(20, seed=1), max_new_tokens=50, seed=1, tool=tool)
    assert called
    # What a tool says is text, whatever it looks like.
    for reply in found:
        forced = [i for i, m in zip(reply.ids, reply.mask, strict=True) if not m]
        assert S["<|assistant_end|>"] not in forced


def test_bad_arguments(model):
    (prompt,) = prompts(1)
    for arguments, message in (
        (([],), "no prompt"),
        (([[]],), "prompt 1 has 0 tokens"),
        (([prompt, [0] * (T + 1)],), f"prompt 2 has {T + 1} tokens.*{T}"),
    ):
        with pytest.raises(ValueError, match=message):
            replies(model, RENDERER, *arguments)
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        replies(model, RENDERER, [prompt], max_new_tokens=0)
    small = small_model("cs336", vocab_size=300, context_length=T)
    with pytest.raises(ValueError, match="do not belong together"):
        replies(small, RENDERER, [prompt])
    (full,) = replies(model, RENDERER, [[0] * T], max_new_tokens=5)
    assert (len(full.ids), full.finish) == (1, "length") or full.finish == "stop"
