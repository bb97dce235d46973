"""Pairs in files: every shape, what counts in them, and what is refused or left out."""

import json

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.stages.dpo.pairs import encode_pairs, read_pairs
from bytemill.lm.stages.dpo.source import PairSource
from tests.support.chats import chat_tokenizer
from tests.support.pairs import polite_pairs, write_pairs

RENDERER = Renderer(chat_tokenizer())
ASKED = {"role": "user", "content": "new"}


def said(text):
    return {"role": "assistant", "content": text}


CALL = [{"type": "python", "text": "1+1"}, {"type": "python_output", "text": "2"}]
# Each is the prompt "new" and the answers "yes" and "no".
SHAPES = [
    {"prompt": "new", "chosen": "yes", "rejected": "no"},
    {"prompt": [ASKED], "chosen": said("yes"), "rejected": [said("no")]},
    {"messages": [ASKED], "chosen": [{"type": "text", "text": "yes"}], "rejected": "no"},
    {"chosen": [ASKED, said("yes")], "rejected": [ASKED, said("no")], "score": 3},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(shape))
def test_shapes(tmp_path, shape):
    path = write_pairs(tmp_path / "pairs.jsonl", [shape])
    (pair,) = read_pairs(str(path))
    assert [message.text for message in pair.prompt.messages] == ["new"]
    assert (pair.chosen.text, pair.rejected.text) == ("yes", "no")
    (encoded,) = encode_pairs(str(path), RENDERER, 64).pairs
    special, ids = RENDERER.special, RENDERER.tokenizer.encode_ordinary
    head = [special[f"<|{name}|>"] for name in ("bos", "user_start")]
    head += [*ids("new"), special["<|user_end|>"], special["<|assistant_start|>"]]
    for row, text in ((encoded.chosen, "yes"), (encoded.rejected, "no")):
        answer = [*ids(text), special["<|assistant_end|>"]]
        assert row.ids == [*head, *answer[:-1]]
        assert row.targets == [-1] * (len(head) - 1) + answer


def test_the_last_answer_alone_counts_and_results_of_tools_do_not(tmp_path):
    prompt = [ASKED, said("before"), ASKED]
    pair = {"prompt": prompt, "chosen": CALL, "rejected": "no"}
    path = write_pairs(tmp_path / "pairs.jsonl", [pair])
    (encoded,) = encode_pairs(str(path), RENDERER, 64).pairs
    special = RENDERER.special
    counted = [t for t in encoded.chosen.targets if t != -1]
    expected = [special["<|python_start|>"], *RENDERER.tokenizer.encode_ordinary("1+1")]
    assert counted == [*expected, special["<|python_end|>"], special["<|assistant_end|>"]]


def test_what_is_of_no_use_is_counted(tmp_path):
    good = polite_pairs(3)
    equal = {"prompt": "new", "chosen": "yes", "rejected": "yes"}
    long = {"prompt": "new " * 60, "chosen": "yes", "rejected": "no"}
    cut = {"prompt": "new", "chosen": "yes " * 60, "rejected": "no"}
    lines = [*good, equal, long, cut]
    path = write_pairs(tmp_path / "pairs.jsonl", lines)
    with path.open("a") as file:
        file.write("\n{nonsense\n")
    with pytest.raises(ValueError, match=r"pairs\.jsonl:8: not JSON"):
        encode_pairs(str(path), RENDERER, 33)
    found = encode_pairs(str(path), RENDERER, 33, skip_bad=True)
    assert len(found.pairs) == 4
    assert (found.n_equal, found.n_long, len(found.bad)) == (1, 1, 1)
    assert found.n_cut == 2  # the long one is, too
    assert max(len(pair.chosen.ids) for pair in found.pairs) == 32
    only = write_pairs(tmp_path / "equal.jsonl", [equal])
    with pytest.raises(ValueError, match="no pair to learn from: 1 have two equal answers"):
        encode_pairs(str(only), RENDERER, 64)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ([1], "it is a list, not an object"),
        ({"prompt": "new", "chosen": "yes"}, "there is no 'rejected'; the keys are: 'prompt'"),
        ({"prompt": [], "chosen": "yes", "rejected": "no"}, "the conversation is empty"),
        ({"prompt": [ASKED, said("x")], "chosen": "yes", "rejected": "no"}, "has no question"),
        ({"prompt": "new", "chosen": 3, "rejected": "no"}, "chosen: a message is a int"),
        ({"prompt": "new", "chosen": ASKED, "rejected": "no"}, "role 'user', not the assistant's"),
        ({"prompt": "x", "chosen": [said("a"), said("b")], "rejected": "no"}, "has 2 messages"),
        (
            {"chosen": [ASKED, said("a")], "rejected": [{**ASKED, "content": "low"}, said("b")]},
            "differ in the assistant's last message alone",
        ),
        ({"prompt": "\ud800", "chosen": "yes", "rejected": "no"}, "lone surrogate"),
    ],
)
def test_lines_that_are_not_pairs(tmp_path, line, reason):
    path = write_pairs(tmp_path / "pairs.jsonl", [SHAPES[0], line])
    with pytest.raises(ValueError) as found:
        list(read_pairs(str(path)))
    assert f"{path}:2: not a pair: " in str(found.value) and reason in str(found.value)


def test_batches(tmp_path):
    path = write_pairs(tmp_path / "pairs.jsonl", polite_pairs(7))
    pairs = encode_pairs(str(path), RENDERER, 64)

    def source(seed=3, content=pairs.content):
        made = PairSource(pairs.pairs, 5, seed=seed, content=content, device=torch.device("cpu"))
        made.reference[:] = [[i, -i] for i in range(7)]
        return made

    first = source()
    drawn = [first.next_batch() for _ in range(7)]
    numbers = torch.cat([batch["reference"][:, 0] for batch in drawn]).int().tolist()
    epochs = [numbers[at : at + 7] for at in range(0, 35, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2
    for batch in drawn[:2]:
        for row, number in enumerate(batch["reference"][:, 0].int().tolist()):
            wanted = pairs.pairs[number].rejected
            assert batch["rejected"][row, : len(wanted.ids)].tolist() == wanted.ids
            assert batch["rejected_targets"][row, : len(wanted.ids)].tolist() == wanted.targets
    # A place that was saved, and ranks.
    again = source()
    for _ in range(2):
        again.next_batch()
    shares = [source(), source()]
    for each in shares:
        each.load_state_dict(json.loads(json.dumps(again.state_dict())))
    parts = [each.next_share(rank, 2)["reference"] for rank, each in enumerate(shares)]
    assert torch.equal(torch.cat(parts), drawn[2]["reference"])
    for other in (source(seed=4), source(content="other")):
        with pytest.raises(ValueError, match="resume with the same pairs"):
            other.load_state_dict(again.state_dict())
