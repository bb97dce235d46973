"""Several replies to each question: each as its seed alone writes it, kept, shared, counted."""

import json
import threading
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.evaluate.chat_samples import Samples, sample_task
from bytemill.lm.generate.replies import replies
from bytemill.lm.generate.sampling import seed_of
from bytemill.tasks import Arithmetic
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

TOKENIZER = chat_tokenizer()
RENDERER = Renderer(TOKENIZER)
SETTINGS = {"max_new_tokens": 8, "temperature": 1.3, "top_k": 40, "seed": 5}


class Even(Arithmetic):
    """Right is a reply of an even number of characters; the third question does not fit."""

    judged = 0

    def judge(self, item, reply):
        self.judged += 1
        return float(len(reply.text) % 2 == 0)

    def item(self, index):
        found = super().item(index)
        if index != 2:
            return found
        first, second = found.conversation.messages
        long = type(first)("user", first.content * 40)
        whole = type(found.conversation)((long, second))
        return type(found)(whole, found.answer)


@pytest.fixture(scope="module")
def model():
    made = small_model("cs336", vocab_size=TOKENIZER.n_vocab, context_length=128)
    return made.eval().requires_grad_(False)


def naive(model, n, samples):
    """A reply at a time."""
    task, scores = Even(size=n), []
    for index, item in enumerate(task):
        scores.append([])
        for sample in range(samples):
            reply = 0.0
            prompt = RENDERER.prompt(item.conversation)
            if len(prompt) <= 128:
                fields = {**SETTINGS, "seed": [seed_of(5, index, sample)]}
                (written,) = replies(model, RENDERER, [prompt], **fields)
                reply = task.judge(item, written.message)
            scores[-1].append(reply)
    return tuple(map(tuple, scores))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
def test_each_reply_is_that_of_its_seed_whatever_the_batch(model, batch_size):
    expected = naive(model, 5, 3)
    assert len({one for scores in expected for one in scores}) == 2
    found = sample_task(model, RENDERER, Even(size=5), 3, batch_size=batch_size, **SETTINGS)
    assert found.scores == expected
    # More samples and items are more of the same.
    more = sample_task(model, RENDERER, Even(size=6), 4, batch_size=batch_size, **SETTINGS)
    assert tuple(scores[:3] for scores in more.scores[:5]) == expected


def test_what_is_kept_is_not_asked_again(model, tmp_path):
    keep = tmp_path / "kept.jsonl"

    def run(samples=3, seed=0, **changes):
        task = Even(size=5, seed=seed)
        fields = {"keep": keep, "identity": "a", "batch_size": 4, **SETTINGS, **changes}
        return sample_task(model, RENDERER, task, samples, **fields).scores, task.judged

    some, n = run(max_items=2)
    assert n == 6
    every, n = run()
    assert every[:2] == some and n == 6  # the third does not fit, and is not judged
    assert run() == (every, 0)
    head, *lines = map(json.loads, keep.read_text(encoding="utf-8").splitlines())
    assert (head["samples"], head["temperature"], head["top_k"]) == (3, 1.3, 40)
    assert [tuple(one["score"] for one in line["samples"]) for line in lines] == list(every)
    assert [len(line["samples"]) for line in lines] == [3] * 5
    for changes in (
        {"samples": 2}, {"identity": "b"}, {"max_new_tokens": 7}, {"temperature": 1.0},
        {"top_k": None}, {"seed": 6},
    ):  # fmt: skip
        samples = changes.get("samples", 3)
        assert run(**{**changes})[1] == 4 * samples, changes


class Thread:
    """A process of two, which is a thread here."""

    size = 2

    def __init__(self, rank, barrier, box):
        self.rank, self._barrier, self._box = rank, barrier, box

    def gather(self, value):
        self._box[self.rank] = value
        self._barrier.wait()
        found = list(self._box)
        self._barrier.wait()
        return found

    def all_or_none(self):
        return nullcontext()


def test_two_processes_share_the_questions(model):
    barrier, box, found, tasks = threading.Barrier(2), [None, None], [None, None], []

    def work(rank):
        task = Even(size=5)
        tasks.append(task)
        ranks = Thread(rank, barrier, box)
        found[rank] = sample_task(
            model, RENDERER, task, 2, batch_size=2, ranks=ranks, **SETTINGS
        ).scores

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found[0] == found[1] == naive(model, 5, 2)
    assert sorted(task.judged for task in tasks) == [4, 4]


def test_pass_at_k_by_hand():
    found = Samples("x", ((1.0, 0.0, 0.0), (0.5, 0.9, 0.0), (1.0, 1.0, 1.0)), 9, 0, 0.0, "")
    assert found.pass_at(1) == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert found.pass_at(2) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert found.pass_at(3) == pytest.approx(2 / 3)
    low, high = found.interval(2)
    assert 0 <= low < found.pass_at(2) < high <= 1
    with pytest.raises(ValueError, match="k=4"):
        found.pass_at(4)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"samples": 0}, ValueError, "samples=0"),
        ({"samples": 10**12}, ValueError, "at most 100,000"),
        ({"samples": 2.5}, TypeError, "samples=2.5"),
        ({"temperature": 0}, ValueError, "temperature=0: all replies"),
        ({"top_k": 0}, ValueError, "top_k=0"),
        ({"max_items": 0}, ValueError, "max_items=0"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens=0"),
        ({"task": Arithmetic(size=0)}, ValueError, "no items"),
    ],
)
def test_bad_arguments(model, fields, error, message):
    fields = {"samples": 2, "task": Even(size=2), **fields}
    task, samples = fields.pop("task"), fields.pop("samples")
    with pytest.raises(error, match=message):
        sample_task(model, RENDERER, task, samples, **fields)
    categorical = Even(size=2)
    categorical.kind = "categorical"
    with pytest.raises(ValueError, match="answered by a letter"):
        sample_task(model, RENDERER, categorical, 2)
