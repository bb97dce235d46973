"""Generated tasks: their answers against Python, their seeds, and tasks made of tasks."""

import random
import re
from collections import Counter
from itertools import pairwise

import pytest

from bytemill.chat import Message
from bytemill.tasks import (
    Arithmetic,
    Chain,
    Counting,
    Identity,
    Mixture,
    Slice,
    Spelling,
    Weighted,
    words_of,
)
from bytemill.tasks.arithmetic import WORDINGS, WORDINGS_HELD_OUT
from bytemill.tasks.identity import WORDINGS as IDENTITY
from bytemill.tasks.identity import WORDINGS_HELD_OUT as IDENTITY_HELD_OUT
from bytemill.tasks.wordings import distinct, framed
from bytemill.tasks.words import (
    COUNT,
    COUNT_HELD_OUT,
    SPELL,
    SPELL_HELD_OUT,
    default_words,
    words_in,
)

WORDS = ["banana", "cat", "strawberry", "naïve"]


def says(text):
    return Message("assistant", text)


def test_arithmetic_is_right():
    seen = set()
    for n in (2, 3):
        task = Arithmetic(n, seed=n)
        for index in range(300):
            item = task[index]
            asked = item.conversation.messages[0].content
            (written,) = re.findall(r"\d+(?: [-+*] \d+)+", asked)
            value = eval(written)  # digits and signs only
            assert item.answer == str(value)
            assert task.judge(item, item.conversation.messages[1]) == 1
            assert task.judge(item, says(f"It is {value}.")) == 1
            assert task.judge(item, says(f"It is {value + 1}.")) == 0
            assert task.judge(item, says(f"It is {value}5.")) == 0
            assert task.judge(item, says("")) == 0
            seen.add(asked)
    assert len(seen) > 570


def test_words_are_right():
    spelling, counting = Spelling(WORDS), Counting(WORDS)
    for index in range(200):
        item = spelling[index]
        asked = item.conversation.messages[0].content
        (word,) = (w for w in WORDS if f"'{w}'" in asked)
        assert item.answer.split("-") == list(word)
        assert spelling.judge(item, says(f"{item.answer}.")) == 1
        assert spelling.judge(item, says(item.answer[:-2])) == 0
        item = counting[index]
        asked = item.conversation.messages[0].content
        (word,) = (w for w in WORDS if f"'{w}'" in asked)
        (letter,) = re.findall("'(.)'", asked)
        assert item.answer == str(sum(c == letter for c in word))
        assert counting.judge(item, item.conversation.messages[1]) == 1
        assert counting.judge(item, says(f"{int(item.answer) + 1}")) == 0
    for words in ([], ["don't"], [""]):
        with pytest.raises(ValueError, match="words: "):
            Spelling(words)


def test_identity():
    task = Identity("Ada")
    item = task[0]
    assert task.judge(item, item.conversation.messages[1]) == 1
    assert task.judge(item, says("I am Bob.")) == 0


def test_wordings_kept_apart():
    for trained, held_out in (
        (WORDINGS, WORDINGS_HELD_OUT),
        (SPELL, SPELL_HELD_OUT),
        (COUNT, COUNT_HELD_OUT),
        (IDENTITY, IDENTITY_HELD_OUT),
    ):
        assert 18 <= len(set(trained)) == len(trained)
        assert len(set(held_out)) == 4
        # Not the same words between other signs, nor a piece of a longer one.
        known = set().union(*map(neighbours, trained))
        assert all(neighbours(wording) - known for wording in held_out)
    assert min(map(len, (WORDINGS, SPELL, COUNT))) > 500


def neighbours(wording):
    """The pairs of words side by side; the beginning and the end count as words."""
    words = ["^", *re.findall(r"'?\{?\w+\}?'?", wording), "$"]
    return set(pairwise(words))


def test_phrases_in_frames():
    """One phrase in every frame, with a capital where the frame begins with it; its own braces are
    filled in later."""
    found = framed(("{Phrase}!", "Now {phrase}."), ("spell '{word}'", "{sum} as a number"))
    assert found == (
        "Spell '{word}'!",
        "Now spell '{word}'.",
        "{sum} as a number!",
        "Now {sum} as a number.",
    )
    assert distinct(("a", "b"), ("b", "c"), ("a",)) == ("a", "b", "c")
    for wordings, fields in ((SPELL, {"word"}), (COUNT, {"word", "letter"}), (WORDINGS, {"sum"})):
        assert all(set(re.findall(r"\{(.*?)\}", wording)) == fields for wording in wordings)


def test_items_depend_on_seed_and_number_alone():
    a, b = Arithmetic(seed=1), Arithmetic(seed=1)
    assert a[77] == b[77]
    assert [a[i] for i in range(9)] != [Arithmetic(seed=2)[i] for i in range(9)]
    assert len(a) == 1_000_000
    with pytest.raises(ValueError, match="signs='/'"):
        Arithmetic(signs="/")


def test_words_in_files(tmp_path):
    (tmp_path / "a.txt").write_text("cat cat sat")
    (tmp_path / "b.jsonl").write_text('{"text": "the dog"}\n{"text": "sat sat"}\n')
    assert words_in(str(tmp_path)) == ["sat", "cat", "dog", "the"]
    assert words_in(str(tmp_path / "*.jsonl"), most=7) == ["dog", "the"]
    with pytest.raises(FileNotFoundError, match="none"):
        words_in(str(tmp_path / "none.txt"))
    (tmp_path / "c.txt").write_text("A B 12")
    with pytest.raises(ValueError, match=r"c\.txt: there is no word"):
        words_in(str(tmp_path / "c.txt"))


def test_words_of_a_tokenizer():
    assert default_words([b" cat", b"the", b"t", b"<|", b"\xff", b" Dog", b" cat's"]) == [
        "cat",
        "the",
    ]


def test_words_of_texts():
    text = "the cat saw the Cat; don't he's café abcdefghijklmnop it the_x cat2 sat cat"
    assert words_of([text]) == ["cat", "the", "sat", "saw"]


def test_slices_as_slices_of_a_list():
    task = Arithmetic(size=20)
    items = list(task)
    r = random.Random(0)
    for _ in range(100):
        start, stop = (r.choice([None, r.randint(-25, 25)]) for _ in range(2))
        step = r.choice([1, 2, 3, -1, -2])
        view = Slice(task, start, stop, step)
        assert list(view) == items[start:stop:step]
    twice = Slice(Slice(task, 2, None, 3), 1, 4)
    assert list(twice) == items[2::3][1:4]
    with pytest.raises(ValueError, match="zero"):
        Slice(task, step=0)


def test_mixtures_have_every_item_and_judge_it_by_its_task():
    inner = Mixture([Spelling(WORDS, size=5), Counting(WORDS, size=4)])
    task = Mixture([Arithmetic(size=6), inner, inner, Chain([Identity(size=3)])])
    assert len(task) == 6 + 9 + 9 + 3
    asked = Counter(item.conversation.messages[0].content for item in task)
    expected = Counter()
    for part, times in ((Arithmetic(size=6), 1), (inner, 2), (Identity(size=3), 1)):
        for item in part:
            expected[item.conversation.messages[0].content] += times
    assert asked == expected
    paths = set()
    for item in task:
        assert task.judge(item, item.conversation.messages[1]) == 1
        assert task.judge(item, says("?")) == 0
        paths.add(item.more["tasks"])
    assert paths == {(0,), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)}
    assert list(Mixture(task.tasks)) == list(task)
    assert list(Mixture(task.tasks, seed=1)) != list(task)
    with pytest.raises(ValueError, match="no tasks"):
        Mixture([])


def test_a_chain_is_in_order():
    parts = [Arithmetic(size=3), Identity(size=2)]
    chain = Chain(parts)
    assert [i.conversation for i in chain] == [i.conversation for p in parts for i in p]


def test_weights_are_shares():
    parts = [Arithmetic(size=3), Identity(size=1_000), Spelling(WORDS)]
    task = Weighted(parts, [1, 3, 0], 4_000)
    which = Counter(item.more["tasks"][0] for item in task)
    assert which[2] == 0
    assert abs(which[1] / 4_000 - 0.75) < 0.03
    first = [i.conversation for i in task if i.more["tasks"] == (0,)]
    assert first[:6] == [parts[0][i % 3].conversation for i in range(6)]
    for weights in ([1, 2], [1, -1, 3], [0, 0, 0], [1, float("inf"), 0]):
        with pytest.raises(ValueError, match="weights"):
            Weighted(parts, weights, 10)
    with pytest.raises(ValueError, match="no items"):
        Weighted([Arithmetic(size=0)], [1], 10)


def test_sizes_that_cannot_be():
    for make in (
        lambda: Arithmetic(size=-1),
        lambda: Spelling(["cat"], size=-1),
        lambda: Identity(size=-1),
        lambda: Weighted([Arithmetic(size=3)], [1], -1),
    ):
        with pytest.raises(ValueError, match="size=-1"):
            make()
