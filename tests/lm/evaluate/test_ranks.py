"""Two processes give what one gives, to the last bit, and go on where one was killed."""

import json
import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.batches.tokens import Tokens
from bytemill.lm.distributed.group import FailedElsewhereError
from bytemill.lm.evaluate import kept as kept_module
from bytemill.lm.evaluate.chat_run import run_task
from bytemill.lm.evaluate.core import run, run_core
from bytemill.lm.evaluate.corpus import evaluate
from bytemill.lm.evaluate.ranks import ALONE
from bytemill.tasks import Arithmetic
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.ranks import on_ranks

TOKENIZER = chat_tokenizer()
BOS = TOKENIZER.special_tokens["<|bos|>"]
N = 11


def make_items(folder):
    copa = [
        {"query": "the low " * (1 + i % 4), "choices": ["new", "er est"], "gold": i % 2}
        for i in range(N)
    ]
    lambada = [{"context": "the new " * (1 + i % 5), "continuation": "low"} for i in range(N)]
    for name, items in (("copa", copa), ("lambada_openai", lambada)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, items)))


def evaluated(ranks, data, keep, lost_after=None):
    """All three evaluations, in blocks of a few items; the second rank can be killed on the way."""
    run._BLOCK = 4
    made = small_model("gpt", vocab_size=TOKENIZER.n_vocab, context_length=96)
    model = made.eval().requires_grad_(False)
    asked = []

    def encode(text):
        asked.append(text)
        if lost_after is not None and ranks.rank == 1 and len(asked) > lost_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return TOKENIZER.encode_ordinary(text)

    core = run_core(
        model, encode, BOS, data, batch_size=3, keep=keep / "core" if keep else None,
        identity="a", ranks=ranks,
    )  # fmt: skip
    chat = run_task(
        model, Renderer(TOKENIZER), Arithmetic(size=7), batch_size=2, max_new_tokens=12,
        keep=keep / "chat.jsonl" if keep else None, ranks=ranks,
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(0, 256, 1001)
    loss = evaluate(model, Tokens.of(ids, "ids"), TOKENIZER, batch_size=2, ranks=ranks)
    answers = [result.right for result in core.tasks]
    return answers, core.core(), chat.score, loss, len(asked)


def files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    data, keep = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("alone")
    make_items(data)
    return data, evaluated(ALONE, data, keep), files(keep)


def only_first_keeps(group, data, folder):
    return evaluated(group, data, folder / str(group.rank))


def test_two_give_what_one_gives(alone, tmp_path):
    data, (*expected, n_asked), kept = alone
    found = on_ranks(2, only_first_keeps, data, tmp_path)
    assert [one[:-1] for one in found] == [tuple(expected)] * 2
    assert files(tmp_path / "0") == kept
    assert not (tmp_path / "1").exists()
    # Each makes rows of all questions, which is cheap; the batches that it computes are its own.
    assert {one[-1] for one in found} == {n_asked}


def test_after_a_kill_the_rest_is_asked(alone, tmp_path):
    data, (*expected, n_asked), kept = alone
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("needs SIGKILL")
    with pytest.raises(AssertionError, match="RankLostError: rank 0 ends"):
        # Copa has two rows an item: it dies in the second block.
        on_ranks(2, evaluated, data, tmp_path, 12, expect_death=[1])
    (half,) = files(tmp_path).values()
    lines = half.splitlines(keepends=True)
    assert len(lines) == 1 + 4
    assert b"".join(lines) == b"".join(kept["copa.jsonl"].splitlines(keepends=True)[:5])
    *again, n_again = evaluated(ALONE, data, tmp_path)
    assert again == expected
    assert files(tmp_path) == kept
    assert n_again == n_asked - 8


def fails(group, data):
    def encode(text):
        if group.rank == 1:
            raise ValueError("what is wrong with rank 1")
        return TOKENIZER.encode_ordinary(text)

    model = small_model("gpt", vocab_size=TOKENIZER.n_vocab, context_length=96).eval()
    try:
        run_core(model, encode, BOS, data, ranks=group)
    except Exception as error:
        return type(error), str(error)


def test_one_that_fails_ends_all_and_tells(alone):
    first, second = on_ranks(2, fails, alone[0])
    assert first[0] is FailedElsewhereError
    assert second == (ValueError, "what is wrong with rank 1")


def test_files_that_are_not_ours_count_for_nothing(tmp_path):
    path = tmp_path / "kept.jsonl"
    head = {"task": "x"}
    ours = kept_module.Kept(path, head)
    ours.write({2: {"item": 2}, 0: {"item": 0}, 5: {"item": 5}})
    assert list(ours.read(5)) == [0, 2]
    assert kept_module.Kept(path, {"task": "y"}).read(5) == {}
    for text in ("", "[]", '{"task": "x"}\n[]', '{"task": "x"}\n{"item": "0"}', "[" * 100_000):
        path.write_text(text)
        assert ours.read(5) == {}
    path.write_bytes(b"\xff")
    assert ours.read(5) == {}
    assert kept_module.Kept(None, head).read(5) == {}
