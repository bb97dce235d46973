"""Rows of conversations: every shape by hand, and the packings against naive ones."""

import json
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message, Part, Renderer
from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.stages.conversations import Conversations, Share
from bytemill.lm.stages.rows import BUFFER, PACKINGS, rows_of
from bytemill.tasks import Messages, Task
from bytemill.tasks.task import Item
from tests.support.chats import chat_tokenizer
from tests.support.chats import conversation as any_conversation

RENDERER = Renderer(chat_tokenizer())
ID = RENDERER.special
BOS = ID["<|bos|>"]


class Fixed(Task):
    """Some conversations."""

    name = "fixed"

    def __init__(self, conversations):
        self._conversations = conversations

    def __len__(self):
        return len(self._conversations)

    def item(self, index):
        return Item(self._conversations[index], None)

    def judge(self, item, reply):
        raise TypeError


def talk(asked, answered):
    return Conversation((Message("user", asked), Message("assistant", answered)))


def rows(packing, conversations, length, *, mask=True, seed=0, repeats=1):
    most = None if packing == "stream" else length + 1
    shares = [Share(Fixed(conversations), repeats)]
    made = Conversations(shares, RENDERER, most, mask=mask, seed=seed)
    return rows_of(packing, made, length, BOS)


def take(source, n=1):
    both = np.full((n, 2, source.context_length), -7, np.int64)
    for x, y in both:
        source.fill(x, y)
    return both


def ids(text):
    return RENDERER.tokenizer.encode_ordinary(text)


# Each shape by hand: the ids of the format, and behind each id what it is to be followed by.
CALL = (Part("python", "1+1"), Part("python_output", "2"), Part("text", "It is 2."))
SHAPES = {
    "text": (
        talk("hi", "yes"),
        [(BOS, 0), (ID["<|user_start|>"], 0), *((i, 0) for i in ids("hi")), (ID["<|user_end|>"], 0),
         (ID["<|assistant_start|>"], 0), *((i, 1) for i in ids("yes")),
         (ID["<|assistant_end|>"], 1)],
    ),
    "a call": (
        talk("sum", CALL),
        [(BOS, 0), (ID["<|user_start|>"], 0), *((i, 0) for i in ids("sum")),
         (ID["<|user_end|>"], 0), (ID["<|assistant_start|>"], 0), (ID["<|python_start|>"], 1),
         *((i, 1) for i in ids("1+1")), (ID["<|python_end|>"], 1), (ID["<|output_start|>"], 0),
         *((i, 0) for i in ids("2")), (ID["<|output_end|>"], 0), *((i, 1) for i in ids("It is 2.")),
         (ID["<|assistant_end|>"], 1)],
    ),
    "two turns": (
        Conversation((
            Message("user", "a"), Message("assistant", "b"), Message("user", "c"),
            Message("assistant", "d"),
        )),
        [(BOS, 0), (ID["<|user_start|>"], 0), *((i, 0) for i in ids("a")), (ID["<|user_end|>"], 0),
         (ID["<|assistant_start|>"], 0), *((i, 1) for i in ids("b")), (ID["<|assistant_end|>"], 1),
         (ID["<|user_start|>"], 0), *((i, 0) for i in ids("c")), (ID["<|user_end|>"], 0),
         (ID["<|assistant_start|>"], 0), *((i, 1) for i in ids("d")), (ID["<|assistant_end|>"], 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("packing", ["single", "best-fit"])
def test_a_padded_row_by_hand(name, packing):
    conversation, pairs = SHAPES[name]
    length = 40
    given = [id_ for id_, _ in pairs]
    x, y = take(rows(packing, [conversation], length))[0]
    # Of best-fit, as often as it fits; each from its beginning.
    times = 1 if packing == "single" else (length + 1) // len(given)
    assert times == 1 or packing == "best-fit"
    whole = given * times + [BOS] * (length + 1 - times * len(given))
    assert x.tolist() == whole[:-1]
    targets = [id_ if counts else -1 for id_, counts in pairs] * times
    targets += [-1] * (length + 1 - len(targets))
    assert y.tolist() == targets[1:]


def test_without_a_mask_all_but_padding_and_beginnings_count():
    conversation, pairs = SHAPES["text"]
    n = len(pairs)
    x, y = take(rows("best-fit", [conversation], 2 * n + 3, mask=False))[0]
    given = [id_ for id_, _ in pairs]
    assert x.tolist() == [*given, *given, BOS, BOS, BOS]
    assert y.tolist() == [*given[1:], -1, *given[1:], -1, -1, -1, -1]


def test_a_stream_by_hand():
    conversation, pairs = SHAPES["text"]
    given, n = [id_ for id_, _ in pairs], len(pairs)
    length = n - 2
    found = take(rows("stream", [conversation], length, mask=False), 5)
    endless = given * 6
    for i, (x, y) in enumerate(found):
        assert x.tolist() == endless[i * length : (i + 1) * length]
        assert y.tolist() == endless[i * length + 1 : (i + 1) * length + 1]


def test_too_long_ones_are_cut_at_their_end_and_counted():
    long, short = talk("a", "word " * 50), talk("a", "b")
    source = rows("single", [long, short], 24)
    found = take(source, 10)
    cut = RENDERER.render(long, 25)
    assert cut.cut is not None
    expected = [i if m else -1 for i, m in zip(cut.ids, cut.mask, strict=True)]
    assert sum(y.tolist() == expected[1:] for _, y in found) == 5
    assert source.at.n_cut == 5
    # A stream goes on in the next row instead.
    assert rows("stream", [long], 24).conversations.encoded(0).is_cut is False


def test_nothing_to_learn():
    """What has no answer within its row is left out, and counted; rows are never all padding."""
    silent = Conversation((Message("user", "is there"),))
    late = talk("word " * 50, "yes")
    good = talk("a", "b")
    for packing in ("single", "best-fit"):
        source = rows(packing, [silent, late, good], 24)
        for _, y in take(source, 12):
            assert (y != -1).any()
        assert source.at.n_dropped >= 20
        with pytest.raises(ValueError, match="nothing to learn in any conversation"):
            take(rows(packing, [silent, late], 24))
    # With a mask, a stream's row may lie within a question: it is passed over.
    for _, y in take(rows("stream", [late], 8), 12):
        assert (y != -1).any()


# Against naive packings


def in_order(source, n):
    """The first conversations that have something to learn, as pairs of ids and targets."""
    made, number = [], 0
    while len(made) < n:
        one = source.conversations.encoded(number)
        number += 1
        if one.counts[1:].any():
            made.append((one.ids.tolist(), np.where(one.counts, one.ids, -1).tolist()))
    return made


def naive_best_fit(conversations, length, n_rows):
    waiting, rest, made = [], list(conversations), []
    for _ in range(n_rows):
        while len(waiting) < BUFFER:
            waiting.append(rest.pop(0))
        row, targets = [], []
        at = 0
        while at is not None:
            given, wanted = waiting.pop(at)
            row += given
            targets += [-1, *wanted[1:]] if targets else wanted
            at = None
            for i, (other, _) in enumerate(waiting):
                fits = len(row) + len(other) <= length + 1
                if fits and (at is None or len(other) > len(waiting[at][0])):
                    at = i
        n_pad = length + 1 - len(row)
        made.append(((row + [BOS] * n_pad)[:-1], (targets + [-1] * n_pad)[1:]))
    return made


def naive_stream(conversations, length, n_rows):
    row = [id_ for given, _ in conversations for id_ in given]
    targets = [id_ for _, wanted in conversations for id_ in wanted]
    made = []
    for start in range(0, len(row) - length, length):
        wanted = targets[start + 1 : start + length + 1]
        if any(id_ != -1 for id_ in wanted):
            made.append((row[start : start + length], wanted))
    return made[:n_rows]


N = 16


@pytest.mark.parametrize("seed", range(10))
def test_packings_against_naive_ones(seed):
    r = random.Random(seed)
    conversations = [any_conversation(r) for _ in range(r.randint(5, 40))]
    length, mask = r.choice([16, 48, 100, 300]), r.random() < 0.7
    for packing in PACKINGS:
        source = rows(packing, conversations, length, mask=mask, seed=seed)
        try:
            found = [(x.tolist(), y.tolist()) for x, y in take(source, N)]
        except ValueError as error:  # the rows are too short for any answer
            assert "nothing to learn" in str(error) and length == 16
            continue
        if packing == "stream":
            expected = naive_stream(in_order(source, N * length // 3 + 9), length, N)
        else:
            known = in_order(source, BUFFER + N * (length + 1) // 6)
            expected = naive_best_fit(known, length, N)
            if packing == "single":
                expected = []
                for given, wanted in known[:N]:
                    n_pad = length + 1 - len(given)
                    row = (given + [BOS] * n_pad)[:-1], (wanted + [-1] * n_pad)[1:]
                    expected.append(row)
        assert found == expected, packing


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_state_is_json_and_exact_anywhere(packing):
    r = random.Random(5)
    conversations = [any_conversation(r) for _ in range(50)]
    straight = rows(packing, conversations, 60)
    expected = take(straight, 60)
    source = rows(packing, conversations, 60)
    for i in range(60):
        state = json.loads(json.dumps(source.to_json(source.snapshot())))
        source = rows(packing, conversations, 60)
        source.load_state_dict(state)
        assert (take(source)[0] == expected[i]).all(), i
    assert source.at == straight.at


def test_a_stream_is_exact_where_a_conversation_begins_with_a_rows_last_target():
    conversations = [talk("a", "b" * n) for n in range(1, 9)]
    for length in range(4, 20):
        straight = take(rows("stream", conversations, length, mask=False), 30)
        source = rows("stream", conversations, length, mask=False)
        for i in range(30):
            state = source.to_json(source.snapshot())
            source = rows("stream", conversations, length, mask=False)
            source.load_state_dict(state)
            assert (take(source)[0] == straight[i]).all(), (length, i)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(seed=3), "has seed=3, and these have 0"),
        (lambda s: s.update(content="x"), "content='x'"),
        (lambda s: s.update(packing="stream"), "packing='stream'"),
        (lambda s: s.pop("mask"), "not one of rows"),
        (lambda s: s["at"].update(number=-1), "number=-1: it must be at least 0"),
        (lambda s: s["at"].update(waiting=[10**6]), "damaged"),
        (lambda s: s["at"].pop("offset"), "damaged"),
    ],
)
def test_a_state_of_something_else(change, message):
    r = random.Random(6)
    source = rows("best-fit", [any_conversation(r) for _ in range(30)], 60)
    take(source, 3)
    state = source.to_json(source.snapshot())
    change(state)
    with pytest.raises(ValueError, match=message):
        source.load_state_dict(state)


def test_other_conversations_are_known():
    r = random.Random(7)
    conversations = [any_conversation(r) for _ in range(30)]
    source = rows("single", conversations, 60)
    state = source.to_json(source.snapshot())
    other = rows("single", [*conversations[:-1], talk("other", "one")], 60)
    with pytest.raises(ValueError, match="content"):
        other.load_state_dict(state)


@pytest.mark.parametrize("packing", PACKINGS)
def test_ranks_have_the_same_rows(packing):
    """One rank's batches are those of three put together, and the state is anybody's."""
    r = random.Random(8)
    conversations = [any_conversation(r) for _ in range(60)]

    def loader():
        own = rows(packing, conversations, 60), rows("single", conversations[:9], 60)
        return StreamLoader(own, 7, weights=[0.8, 0.2])

    alone, ranks = loader(), [loader() for _ in range(3)]
    for i in range(12):
        x, y = alone.next_batch()
        shares = [one.next_share(rank, 3) for rank, one in enumerate(ranks)]
        pairs = [torch.stack(share, 1) for share in (*shares, (x, y))]
        of_ranks, of_one = torch.cat(pairs[:-1]).tolist(), pairs[-1].tolist()
        assert sorted(of_ranks) == sorted(of_one)
        states = [json.loads(json.dumps(one.state_dict())) for one in (alone, *ranks)]
        assert states == states[:1] * 4
        if i == 5:
            ranks = [loader() for _ in range(3)]
            for one in ranks:
                one.load_state_dict(states[0])
    for one in (alone, *ranks):
        one.close()


# The order of conversations


def numbered(n):
    return Fixed([talk(str(i), "yes") for i in range(n)])


def asked(conversations, number):
    return conversations.conversation(number).messages[0].text


def test_epochs():
    shares = [Share(numbered(7)), Share(numbered(4), repeats=3)]
    made = Conversations(shares, RENDERER, 50, mask=True, seed=1)
    assert made.epoch == 7 + 12
    orders = []
    for epoch in range(3):
        places = [made.place(epoch * 19 + i) for i in range(19)]
        assert sorted(places) == sorted([(0, i) for i in range(7)] + [(1, i) for i in range(4)] * 3)
        orders.append(places)
    assert orders[0] != orders[1] != orders[2]
    again = Conversations(shares, RENDERER, 50, mask=True, seed=1)
    assert [again.place(i) for i in reversed(range(57))] == [
        place for order in orders for place in order
    ][::-1]
    other = Conversations(shares, RENDERER, 50, mask=True, seed=2)
    assert [other.place(i) for i in range(19)] != orders[0]


def test_weights():
    shares = [Share(numbered(50), weight=3), Share(numbered(7), weight=1)]
    made = Conversations(shares, RENDERER, 50, mask=True, seed=1)
    assert made.epoch is None
    places = [made.place(i) for i in range(4000)]
    # The same shares, of which the sum is not a number.
    greatest = [Share(share.task, weight=share.weight * 2.0**1022) for share in shares]
    again = Conversations(greatest, RENDERER, 50, mask=True, seed=1)
    assert [again.place(i) for i in range(100)] == places[:100]
    of_first = sum(which == 0 for which, _ in places)
    assert abs(of_first - 3000) < 4 * (4000 * 0.75 * 0.25) ** 0.5
    for which, n in ((0, 50), (1, 7)):
        own = [index for task, index in places if task == which]
        for start in range(0, len(own) - n, n):
            assert sorted(own[start : start + n]) == list(range(n))
    # Any one of them, without those before.
    for number in (3999, 0, 2048, 1023, 1024, 5):
        fresh = Conversations(shares, RENDERER, 50, mask=True, seed=1)
        assert fresh.place(number) == places[number] == made.place(number)


def test_bad_shares(tmp_path):
    good = numbered(3)
    for shares, message in (
        ([], "no task"),
        ([Share(Fixed([]))], "has no items"),
        ([Share(good, weight=1.0), Share(good)], "give all of them one, or none"),
        ([Share(good, weight=0.0)], "above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Conversations(shares, RENDERER, 50, mask=True)


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text('[{"role": "user", "content": "a"}]\n{"messages": 3}\n')
    with pytest.raises(ValueError, match=r"chats.jsonl:2: not a conversation"):
        Messages(path)
