"""What a task is known by: all that its items are, and not where they lie."""

import dataclasses
import json

import pytest

from bytemill.chat import Conversation, Message
from bytemill.lm.stages.mixture import Without
from bytemill.tasks import (
    Arc,
    Arithmetic,
    Counting,
    Gsm8k,
    HumanEval,
    Identity,
    Messages,
    Mixture,
    Mmlu,
    Slice,
    SmolTalk,
    Spelling,
    Task,
)
from bytemill.tasks.task import Chain, Item, Weighted

N = 200
UNSEEN = 101
"""An item that a look at 64 items, evenly spread, does not come across."""


def said(index, answer="b"):
    return [{"role": "user", "content": f"a{index}"}, {"role": "assistant", "content": answer}]


PUBLISHED = {
    "smoltalk": (SmolTalk, "data/train.jsonl", lambda i, a: {"messages": said(i, a)}),
    "gsm8k": (Gsm8k, "train.jsonl", lambda i, a: {"question": f"{i}?", "answer": f"#### {ord(a)}"}),
    "mmlu": (
        Mmlu, "all/auxiliary_train.jsonl",
        lambda i, a: {"question": f"{i}?", "choices": [*"wxyz"], "answer": ord(a) % 4},
    ),
    "arc": (
        Arc, "ARC-Easy/train.jsonl",
        lambda i, a: {
            "question": f"{i}?", "choices": {"text": ["x", "y"], "label": ["b", "c"]},
            "answerKey": a,
        },
    ),
    "humaneval": (
        HumanEval, "HumanEval.jsonl",
        lambda i, a: {
            "prompt": f"def f{i}():", "canonical_solution": "x", "test": a, "entry_point": "f",
        },
    ),
    "messages": (
        lambda folder: Messages(folder / "own.jsonl"), "own.jsonl", lambda i, a: said(i, a)
    ),
}  # fmt: skip


def lines(path, row, edited=None, n=N):
    """A file of rows, one of which may have another answer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row(i, "c" if i == edited else "b")) for i in range(n)]
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_edited_answer_anywhere_is_seen(name, tmp_path):
    make, file, row = PUBLISHED[name]
    lines(tmp_path / "a" / file, row)
    lines(tmp_path / "b" / file, row, edited=UNSEEN)
    lines(tmp_path / "c" / file, row)
    lines(tmp_path / "d" / file, row, n=N - 1)
    a, b, c, d = (make(tmp_path / folder).content() for folder in "abcd")
    assert a == c and len({a, b, d}) == 3


class Asked(Task):
    """A task of a user's own, which says nothing of what it is known by."""

    name = "asked"

    def __init__(self, answers, more=None):
        self.answers, self.more = answers, more or {}

    def __len__(self):
        return len(self.answers)

    def item(self, index):
        conversation = Conversation((Message("user", "?"),))
        return Item(conversation, self.answers[index], more=self.more.get(index, {}))

    def judge(self, item, reply):
        return float(reply.text == item.answer)


def test_a_task_of_ones_own():
    """Nor do addresses of objects count, which are others in each process."""
    answers = ["b"] * N
    edited = [*answers[:UNSEEN], "c", *answers[UNSEEN + 1 :]]
    whole = Asked(answers).content()
    assert whole == Asked(list(answers)).content()
    tests = [Asked(answers, {UNSEEN: {"test": test}}).content() for test in ("x", "y")]
    assert len({whole, Asked(edited).content(), *tests}) == 4
    made = [Asked(answers, {3: {"run": lambda: 0, (1, 2): 3}}).content() for _ in range(2)]
    assert made[0] == made[1] != whole


def test_views_are_known_by_what_is_in_them(tmp_path):
    """As a file of these lines alone is; what lies beside them may change."""
    row = PUBLISHED["messages"][2]

    def of(name, numbers, edited=None):
        path = tmp_path / f"{name}.jsonl"
        rows = [json.dumps(row(i, "c" if i == edited else "b")) for i in numbers]
        path.write_text("\n".join(rows))
        return Messages(path)

    every = list(range(N))
    task = of("all", every)
    views = {
        "slice": lambda t: Slice(t, 150, 20, -3),
        "slice of a slice": lambda t: Slice(Slice(t, 10, None, 2), 5, 60),
        "without": lambda t: Without(t, 20),
        "slice of without": lambda t: Slice(Without(t, 3), 20, 100, 3),
        "without of a slice": lambda t: Without(Slice(t, 50, 150), 7),
    }
    for name, view in views.items():
        numbers = [int(item.conversation.messages[0].text[1:]) for item in view(task)]
        assert 0 < len(numbers) < N
        assert view(task).content() == of("some", numbers).content(), name
        beside = next(i for i in every if i not in numbers)
        assert view(of("other", every, beside)).content() == view(task).content(), name
        inside = numbers[len(numbers) // 2]
        assert view(of("other", every, inside)).content() != view(task).content(), name


def test_several_tasks_together(tmp_path):
    both = [Arithmetic(size=30), Identity(size=30)]
    edited = [Arithmetic(size=30), Identity(size=30, name="another")]
    found = [
        Mixture(both), Mixture(both, seed=1), Mixture(edited), Chain(both), Chain(both[::-1]),
        Weighted(both, [1, 2], 50), Weighted(both, [2, 1], 50), Weighted(edited, [1, 2], 50),
        Slice(Mixture(both), 0, 20), Slice(Mixture(both), 20, 40),
    ]  # fmt: skip
    assert len({task.content() for task in found}) == len(found)
    assert Mixture(both).content() == Mixture([Arithmetic(size=30), Identity(size=30)]).content()


def test_what_is_made_is_known_by_what_makes_it():
    words = ["low", "new", "wide"]
    found = [
        Arithmetic(), Arithmetic(3), Arithmetic(seed=1), Arithmetic(largest=99),
        Arithmetic(signs="+-"), Arithmetic(wordings=["{sum}"]), Arithmetic(size=70),
        Identity(), Identity(seed=1), Identity("other"), Identity(wordings=["who?"]),
        Spelling(words), Spelling(words[:2]), Spelling(words, seed=1), Spelling(words, ["{word}"]),
        Counting(words), Slice(Arithmetic(), 0, 500_000), Slice(Arithmetic(), 500_000, None),
    ]  # fmt: skip
    assert len({task.content() for task in found}) == len(found)
    # As many of the same items are the same, however they were taken.
    assert Slice(Arithmetic(), 0, 70).content() == Arithmetic(size=70).content()


def test_other_code_makes_other_items():
    """An item that comes out otherwise is seen, though what decides it is the same."""

    class Other(Arithmetic):
        def item(self, index):
            made = super().item(index)
            return dataclasses.replace(made, answer=f"{made.answer} ")

    assert Other().content() != Arithmetic().content()
