"""`BpeTrainer`: documents, limits, counts kept and merged, several sizes, arguments."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from bytemill import BpeTrainer, Counts, files
from bytemill._core import CountingPass
from tests.support import naive

pytestmark = pytest.mark.filterwarnings("ignore:the vocabulary has")

TEXTS = [
    "low lower lowest",
    "it's the newest's",
    "Größe 日本語 \u00a0\u3000 x\r\n\r\n  y",
    "123 4567!",
]


def counted(texts, **options):
    trainer = BpeTrainer(**options)
    trainer.feed(texts)
    return dict(trainer.counts.items())


# Documents


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["<|a|>"], "one<|a|>two <|a|> three"),
        (["<|a|>"], "<|a|><|a|>one<|a|><|a|>"),
        (["<|a|>", "<|a|><|a|>"], "one<|a|><|a|>two<|a|><|a|><|a|>three"),
        (["<|a|>", "<|a|>b"], "x<|a|>b y<|a|>c"),
        (["<|endoftext|>"], "cut <|endoftext| off <|endoftext|>"),
        (["[a-z]+", "(.*)", "\\d$"], "abc[a-z]+def(.*)ghi\\d$"),
        ([" ", "\n"], "a  b\n\nc \n"),
        (["a", "aa", "aaa"], "aaaaabaaab"),
        (["é", "日本"], "caféé 日本語日"),
        (["<|a|>"], "<|a|>"),
    ],
)
def test_special_tokens_separate_documents(tokens, text):
    assert counted([text], special_tokens=tokens) == naive.count([text], special_tokens=tokens)
    data = text.encode()
    for cut in range(len(data) + 1):
        counting = CountingPass("gpt2", tokens)
        counting.feed_chunks("text", [data[:cut], data[cut:]])
        assert dict(counting.finish().items()) == naive.count([text], special_tokens=tokens)
    counting = CountingPass("gpt2", tokens)
    counting.feed_chunks("text", [data[i : i + 1] for i in range(len(data))])
    assert dict(counting.finish().items()) == naive.count([text], special_tokens=tokens)


def test_text_beside_a_special_token_does_not_see_it():
    # With the x in sight the last blank would go with it.
    assert counted(["a  <|e|>x"], special_tokens=["<|e|>"]) == {b"a": 1, b"  ": 1, b"x": 1}


@pytest.mark.parametrize(
    "text",
    ["", "a", "\x00", "\ufeffbom", "a\rb\r\rc\r", " " * 50 + "x", "x" + " " * 50, "e\u0301 \u0301",
     "👩‍👩‍👧‍👦 🇩🇪 👍🏽", "\U0010ffff\U0001ffff\uffff", "שָׁלוֹם", "ǅİ'ſ'S I’m", "Ⅷ½१२३٣²"],
)  # fmt: skip
def test_counts_what_the_regex_splits(text):
    assert counted([text]) == naive.count([text])
    assert counted([text, text]) == naive.count([text, text])


def test_surrogates_are_read_as_tiktoken_reads_them():
    assert counted(["a \ud83d\udc4d b"]) == counted(["a 👍 b"])
    assert counted(["a \ud83d b"]) == counted(["a \udc4d b"]) == counted(["a \ufffd b"])


def test_a_pattern_that_skips_text_leaves_it_out():
    assert counted(["ab-cd, ef"], pattern=r"\w+") == {b"ab": 1, b"cd": 1, b"ef": 1}


# Limits, which are in characters


@pytest.mark.parametrize("cap", [1, 2, 5, 11, 1000])
def test_doc_cap(cap, tmp_path):
    expected = naive.count([text[:cap] for text in TEXTS])
    assert counted(TEXTS, doc_cap=cap) == expected
    joined = "<|e|>".join(TEXTS)
    assert counted([joined], doc_cap=cap, special_tokens=["<|e|>"]) == expected
    path = tmp_path / "a.txt"
    path.write_bytes(joined.encode())
    trainer = BpeTrainer(doc_cap=cap, special_tokens=["<|e|>"])
    trainer.feed_files(path)
    assert dict(trainer.counts.items()) == expected


def cut_in_all(texts, most):
    result = []
    for text in texts:
        result.append(text[:most])
        most -= len(result[-1])
    return result


@pytest.mark.parametrize("most", [1, 16, 17, 40, 10_000])
def test_max_chars(most):
    expected = naive.count(cut_in_all(TEXTS, most))
    assert counted(TEXTS, max_chars=most) == expected
    trainer = BpeTrainer(max_chars=most)
    for text in TEXTS:
        trainer.feed([text])
    assert dict(trainer.counts.items()) == expected


@pytest.mark.parametrize("most", [1, 7, 12, 10_000])
def test_max_chars_counts_what_doc_cap_leaves(most):
    expected = naive.count(cut_in_all([text[:5] for text in TEXTS], most))
    assert counted(TEXTS, max_chars=most, doc_cap=5) == expected


def test_max_chars_over_several_files(tmp_path):
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.txt").write_bytes(text.encode())
    for most in (1, 16, 17, 40, 10_000):
        trainer = BpeTrainer(max_chars=most)
        trainer.feed_files(tmp_path)
        assert dict(trainer.counts.items()) == naive.count(cut_in_all(TEXTS, most))


def test_max_chars_stops_an_endless_iterable():
    def endless():
        while True:
            yield "some text "

    trainer = BpeTrainer(max_chars=5000)
    trainer.feed(endless())
    before = trainer.counts.items()
    assert trainer.counts.n_bytes == 5000
    trainer.feed(endless())
    assert trainer.counts.items() == before


def test_min_frequency_and_max_token_length():
    text = "aaaa bbbb bbbb cc"
    trainer = BpeTrainer(min_frequency=2, max_token_length=3)
    trainer.feed([text])
    merges = trainer.train(400).merges
    assert merges == naive.train(naive.count([text]), 100, "lexicographic", 2, 3)
    assert max(len(left + right) for left, right in merges) == 3
    assert not any(b"c" in left + right for left, right in merges)


# Counts


def test_several_sizes_after_one_count():
    trainer = BpeTrainer()
    trainer.feed(TEXTS)
    large = trainer.train(290)
    small = trainer.train(270)
    assert small.merges == large.merges[:14]
    assert trainer.train(290).fingerprint == large.fingerprint
    trainer.feed(["qq"] * 50)
    assert trainer.train(257).merges == [(b"q", b"q")]


def test_counts_are_saved_loaded_and_added(tmp_path):
    first, second, both = (BpeTrainer(special_tokens=["<|e|>"]) for _ in range(3))
    first.feed(TEXTS[:2])
    second.feed(TEXTS[2:])
    both.feed(TEXTS)
    path = tmp_path / "saved.counts"
    first.counts.save(path)
    again = BpeTrainer(special_tokens=["<|e|>"])
    again.add_counts(Counts.load(path))
    assert again.counts.items() == first.counts.items()
    again.add_counts(second.counts)
    assert again.counts.items() == both.counts.items()
    assert again.train(280).fingerprint == both.train(280).fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["saved.counts"]
    # What was added from is as it was.
    assert second.counts.items() == trainer_fed(TEXTS[2:]).counts.items()


def test_counts_know_what_was_held_out(tmp_path):
    path = tmp_path / "saved.counts"
    plain = trainer_fed(TEXTS[:2]).counts
    assert plain.held_out == 0
    for share in (0.25, 0.1 + 0.2, 5e-324, 0.0):
        counts = plain.with_held_out(share)
        assert (counts.held_out, counts.items()) == (share, plain.items())
        counts.save(path)
        for again in (Counts.load(path), pickle.loads(pickle.dumps(counts))):
            assert (again.held_out, again.items()) == (share, plain.items())
    # Of two, what is in neither; one without text says nothing.
    sums = Counts.from_items("gpt2", ["<|e|>"], [])
    for share, expected in ((0.5, 0.5), (0.75, 0.5), (0.25, 0.25)):
        sums.merge(plain.with_held_out(share))
        assert sums.held_out == expected
    sums.merge(Counts.from_items("gpt2", ["<|e|>"], []))
    assert sums.held_out == 0.25
    for share in (-0.1, 1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="held_out"):
            plain.with_held_out(share)
        with pytest.raises(ValueError, match="held_out"):
            Counts.from_items("gpt2", [], [], share)


SAVE_AND_DIE = """
import resource, signal, sys
from bytemill import Counts
counts = Counts.from_items("gpt2", [], [(f"w{i}".encode(), 1) for i in range(200_000)])
# The system ends it in the middle of the file.
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
counts.save(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks are tested where there is flock")
def test_what_a_killed_process_left_of_counts_is_removed(tmp_path):
    path = tmp_path / "a.counts"
    ended = subprocess.run([sys.executable, "-c", SAVE_AND_DIE, str(path)], capture_output=True)
    assert ended.returncode == -signal.SIGXFSZ, ended.stderr
    (left,) = tmp_path.iterdir()
    counts = trainer_fed(TEXTS).counts
    counts.save(path)
    assert left.exists(), "it may have been begun just now"
    os.utime(left, (1, 1))
    mine = tmp_path / ".a.counts.notes.tmp"
    other = tmp_path / ".b.counts.0123456789ab.tmp"
    held = tmp_path / ".a.counts.0123456789ab.tmp"
    for file in (mine, other, held):
        file.touch()
        os.utime(file, (1, 1))
    with held.open("ab") as writing:
        files.lock(writing.fileno())
        counts.save(path)
        assert held.exists() and not left.exists()
    counts.save(path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.counts", mine.name, other.name}
    assert Counts.load(path).items() == counts.items()


def test_threads_that_save_to_one_path(tmp_path):
    path = tmp_path / "a.counts"
    several = [trainer_fed([text * 2000]).counts for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda i: several[i % 4].save(path), range(40)):
            pass
    assert Counts.load(path).items() in [counts.items() for counts in several]
    assert [file.name for file in tmp_path.iterdir()] == ["a.counts"]


def trainer_fed(texts):
    trainer = BpeTrainer(special_tokens=["<|e|>"])
    trainer.feed(texts)
    return trainer


def test_counts_tell_what_they_are():
    counts = trainer_fed(["a b b<|e|>"]).counts
    assert counts.items() == [(b" b", 2), (b"a", 1)]
    assert (len(counts), counts.total, counts.n_bytes) == (2, 3, 5)
    assert counts.special_tokens == ["<|e|>"]
    assert counts.pat_str == naive.GPT2


def test_a_trainer_s_counts_are_a_copy():
    trainer = BpeTrainer()
    empty = trainer.counts
    trainer.feed(["a b"])
    first = trainer.counts
    trainer.feed(["a"])
    assert [counts.items() for counts in (empty, first, trainer.counts)] == [
        [],
        [(b" b", 1), (b"a", 1)],
        [(b"a", 2), (b" b", 1)],
    ]
    first.merge(first_copy := trainer.counts)
    assert first.total == 5 and first_copy.total == trainer.counts.total == 3
    trainer.add_counts(trainer.counts)
    assert trainer.counts.items() == [(b"a", 4), (b" b", 2)]


def test_a_feed_that_fails_counts_nothing():
    def failing():
        yield from ["good text"] * 1000
        raise KeyError("mine")

    trainer = BpeTrainer(max_chars=10_000)
    trainer.feed(["before"])
    with pytest.raises(KeyError, match="mine"):
        trainer.feed(failing())
    assert dict(trainer.counts.items()) == {b"before": 1}
    trainer.feed(["x" * 9_994 + "y"])
    assert dict(trainer.counts.items()) == {b"before": 1, b"x" * 9_994: 1}


def test_feeding_inside_a_feed_works():
    inner = BpeTrainer()

    def texts():
        for text in TEXTS:
            inner.feed([text])
            yield text

    assert counted(texts()) == dict(inner.counts.items())


# Arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"special_tokens": [""]}, ValueError, r"special_tokens\[0\]=''"),
        ({"special_tokens": ["<|a|>", 3]}, TypeError, r"special_tokens\[1\]=3"),
        ({"special_tokens": [b"x"]}, TypeError, r"special_tokens\[0\]=b'x'"),
        ({"special_tokens": "<|a|>"}, TypeError, r"pass a list of strings: \['<\|a\|>'\]"),
        ({"special_tokens": ["<|a|>", "<|a|>"]}, ValueError, "given twice"),
        ({"special_tokens": ["\ud83d"]}, ValueError, "surrogate"),
        ({"pattern": "("}, ValueError, r"pattern \"\(\""),
        ({"pattern": "gpt5"}, ValueError, 'pattern=\'gpt5\'.*"gpt2", "cl100k"'),
        ({"pattern": ""}, ValueError, "pattern=''"),
        ({"pattern": None}, TypeError, "pattern=None"),
        ({"tie_break": "first"}, ValueError, 'tie_break=\'first\'.*"lexicographic", "lowest_id"'),
        ({"doc_cap": 0}, ValueError, "doc_cap=0"),
        ({"max_chars": -1}, ValueError, "max_chars=-1"),
        ({"min_frequency": 0}, ValueError, "min_frequency=0"),
        ({"max_token_length": 0}, ValueError, "max_token_length=0"),
        ({"num_threads": 0}, ValueError, "num_threads=0"),
        ({"num_threads": 1.5}, TypeError, "num_threads=1.5"),
        ({"doc_cap": True}, TypeError, "doc_cap=True"),
        ({"max_chars": 2**64}, ValueError, "max_chars=18446744073709551616"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        BpeTrainer(**options)


@pytest.mark.parametrize(
    ("size", "error"),
    [(256, ValueError), (0, ValueError), (-1, ValueError), (2**40, ValueError), (300.0, TypeError),
     ("300", TypeError), (True, TypeError)],
)  # fmt: skip
def test_bad_vocab_size(size, error):
    with pytest.raises(error, match=f"vocab_size={size!r}"):
        BpeTrainer(special_tokens=["<|e|>"]).train(size)


@pytest.mark.parametrize("texts", ["one string", b"bytes", 3, None])
def test_feed_wants_an_iterable(texts):
    with pytest.raises(TypeError):
        BpeTrainer().feed(texts)


def test_feed_says_what_to_do_with_one_string():
    with pytest.raises(TypeError, match=r"for a single text pass \[text\]"):
        BpeTrainer().feed("one string")


def test_feed_names_the_item_that_is_no_str():
    trainer = BpeTrainer()
    with pytest.raises(TypeError, match=r"document 1 .*bytes"):
        trainer.feed(["fine", b"not"])
    assert len(trainer.counts) == 0


def test_too_little_text_gives_a_smaller_vocabulary_and_a_warning():
    trainer = BpeTrainer(special_tokens=["<|e|>"])
    trainer.feed(["abc"])
    with pytest.warns(UserWarning, match=r"259 tokens instead of vocab_size=1000.*1 distinct"):
        tokenizer = trainer.train(1000)
    assert len(tokenizer.vocab) == 259
    with pytest.warns(UserWarning, match="257 tokens instead of vocab_size=300"):
        BpeTrainer(special_tokens=["<|e|>"]).train(300)


def test_what_a_progress_callback_raises_comes_out():
    class Stop(Exception):
        pass

    def stop(*args):
        raise Stop

    counting = CountingPass("gpt2", [], progress=stop)
    with pytest.raises(Stop):
        counting.feed("text " * 1000 for _ in range(1_000_000))


@pytest.mark.parametrize("content", [b"", b"\0" * (1 << 20), b"x" * (1 << 20)])
def test_what_is_no_file_of_counts_is_told_by_its_first_byte(content, tmp_path):
    path = tmp_path / "counts"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="this is not a file of pretoken counts"):
        Counts.load(path)
