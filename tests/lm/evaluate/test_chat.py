"""Chat evaluation against a naive version, at several batch sizes."""

import dataclasses
import itertools
import json
import math

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message, Renderer
from bytemill.lm.evaluate.chat import ask, chat_core, chat_core_interval, score_task
from bytemill.lm.evaluate.chat_run import run_task
from bytemill.lm.generate.replies import replies
from bytemill.tasks import Arithmetic, Task
from bytemill.tasks.choice import choice_item, judge_letter
from bytemill.tasks.task import Item
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

TOKENIZER = chat_tokenizer()
RENDERER = Renderer(TOKENIZER)
T = 128


class Choices(Task):
    """Questions with 2 to 4 choices; the seventh is too long for the model."""

    name, kind, baseline = "choices", "categorical", 0.25

    def __len__(self):
        return 12

    def item(self, index):
        n = 2 + index % 3
        question = "the low " * (100 if index == 7 else 1 + index)
        return choice_item(question, ["x"] * n, "ABCD"[:n], "ABCD"[index % n])

    def judge(self, item, reply):
        return judge_letter(item, reply)


@pytest.fixture(scope="module")
def model():
    made = small_model("cs336", vocab_size=TOKENIZER.n_vocab, context_length=T)
    return made.eval().requires_grad_(False)


def test_letters_as_the_naive_way(model):
    expected = []
    for item in Choices():
        prompt = RENDERER.prompt(item.conversation)
        if len(prompt) > T:
            expected.append("")
            continue
        row = model(torch.tensor([prompt]))[0, -1]
        expected.append(max(item.letters, key=lambda letter: row[ord(letter)].item()))
    assert TOKENIZER.encode_ordinary("A") == [ord("A")]
    for batch_size in (1, 5, 64):
        answers = list(ask(model, RENDERER, Choices(), batch_size=batch_size))
        assert [answer.reply.text for answer in answers] == expected
        assert [answer.index for answer in answers] == list(range(12))
        for answer, item in zip(answers, Choices(), strict=True):
            assert answer.score == (answer.reply.text == item.answer)
    assert [answer.is_finished for answer in answers].index(False) == 7
    assert 0 < sum(answer.score for answer in answers) < 12


def test_what_is_written_is_judged(model):
    class Begins(Arithmetic):
        """Right is a reply of an even number of characters."""

        def judge(self, item, reply):
            return float(len(reply.text) % 2 == 0)

    task = Begins(size=9)
    (every,) = [[*ask(model, RENDERER, task, batch_size=b, max_new_tokens=20)] for b in (4,)]
    for other in (1, 9):
        again = [*ask(model, RENDERER, task, batch_size=other, max_new_tokens=20)]
        assert again == every
    for answer, item in zip(every, task, strict=True):
        prompt = RENDERER.prompt(item.conversation)
        (alone,) = replies(model, RENDERER, [prompt], max_new_tokens=20, temperature=0)
        assert answer.reply == alone.message
        assert answer.score == (len(alone.message.text) % 2 == 0)
    assert {answer.score for answer in every} == {0.0, 1.0}
    sampled = [*ask(model, RENDERER, task, max_new_tokens=20, temperature=1.0, seed=5)]
    assert sampled != every
    assert sampled == [
        *ask(model, RENDERER, task, max_new_tokens=20, temperature=1.0, seed=5, batch_size=2)
    ]


def test_scores_by_hand(model):
    answers = list(ask(model, RENDERER, Choices(), indices=range(3)))
    assert len(answers) == 3
    score = score_task(Choices(), answers)
    assert score.score == pytest.approx(sum(a.score for a in answers) / 3)
    assert score.centred == pytest.approx((score.score - 0.25) / 0.75)
    other = score_task(Arithmetic(), answers)
    assert chat_core([score, other]) == pytest.approx((score.centred + other.score) / 2)
    with pytest.raises(ValueError, match="no items"):
        score_task(Choices(), [])


def test_what_is_kept_is_not_asked_again(model, tmp_path):
    """But it is, if the items, the limit or what else decides the answers are others."""
    keep = tmp_path / "kept.jsonl"
    judged = []

    class Counted(Arithmetic):
        def judge(self, item, reply):
            judged.append(reply)
            return float(len(reply.text) % 2)

    def run(task=None, **changes):
        judged.clear()
        settings = {"keep": keep, "identity": "a", "max_new_tokens": 6, **changes}
        score = run_task(model, RENDERER, task or Counted(size=9), **settings).score
        return score, len(judged)

    some, n = run(max_items=4)
    assert n == len(some.answers) == 4
    every, n = run()
    assert (n, len(every.answers)) == (5, 9)
    assert every.answers[:4] == some.answers
    assert run() == (every, 0)
    lines = [json.loads(line) for line in keep.read_text().splitlines()[1:]]
    item = Arithmetic(size=9)[8]
    assert lines[8]["answer"] == str(item.answer)
    assert lines[8]["reply"] == every.answers[8].reply.to_dict()["content"]
    for changes in ({"identity": "b"}, {"max_new_tokens": 5}, {"task": Counted(size=9, seed=3)}):
        assert run(**changes)[1] == 9

    class Tested(Counted):
        def item(self, index):
            made = super().item(index)
            return dataclasses.replace(made, more={"test": "x"} if index == 8 else {})

    assert run(task=Tested(size=9))[1] == 9  # what judging needs is a part of the item
    low, high = every.interval()
    assert 0 <= low < every.score < high <= 1
    assert chat_core_interval([every]) == pytest.approx(every.interval())


def test_what_is_not_a_number_is_not_a_score(model, tmp_path):
    """A judge's NaN is told, and so are logits of damaged weights, by which no letter is best."""

    class Judge(Arithmetic):
        def judge(self, item, reply):
            return math.nan

    keep = tmp_path / "kept.jsonl"
    with pytest.raises(ValueError, match="the judge of arithmetic gave nan"):
        run_task(model, RENDERER, Judge(size=3), max_new_tokens=4, keep=keep)
    assert not keep.exists()
    damaged = small_model("cs336", vocab_size=TOKENIZER.n_vocab, context_length=T).eval()
    with torch.no_grad():
        damaged.token_embeddings.weight[RENDERER.special["<|user_start|>"]] = math.nan
    for task in (Choices(), Arithmetic(size=3)):
        with pytest.raises(ValueError, match="logits are not finite"):
            list(ask(damaged, RENDERER, task, max_new_tokens=4))


def test_bad_arguments(model):
    with pytest.raises(ValueError, match="batch_size=0"):
        next(ask(model, RENDERER, Choices(), batch_size=0))
    with pytest.raises(ValueError, match="max_items=0"):
        run_task(model, RENDERER, Choices(), max_items=0)

    class Words(Choices):
        def item(self, index):
            asked = Conversation((Message("user", "x"), Message("assistant", "the low")))
            return Item(asked, "the low", ("the low", "A"))

    with pytest.raises(ValueError, match="'the low' is 2 tokens"):
        next(itertools.islice(ask(model, RENDERER, Words()), 1))
