"""`BpeTrainer`: documents, limits, several sizes, feeds that fail, arguments."""

import pytest

from bytemill import BpeTrainer
from bytemill._core import CountingPass
from tests.support import naive
from tests.support.vocabularies import DOCUMENTS

pytestmark = pytest.mark.filterwarnings("ignore:the vocabulary has")


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
    expected = naive.count([text[:cap] for text in DOCUMENTS])
    assert counted(DOCUMENTS, doc_cap=cap) == expected
    joined = "<|e|>".join(DOCUMENTS)
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
    expected = naive.count(cut_in_all(DOCUMENTS, most))
    assert counted(DOCUMENTS, max_chars=most) == expected
    trainer = BpeTrainer(max_chars=most)
    for text in DOCUMENTS:
        trainer.feed([text])
    assert dict(trainer.counts.items()) == expected


@pytest.mark.parametrize("most", [1, 7, 12, 10_000])
def test_max_chars_counts_what_doc_cap_leaves(most):
    expected = naive.count(cut_in_all([text[:5] for text in DOCUMENTS], most))
    assert counted(DOCUMENTS, max_chars=most, doc_cap=5) == expected


def test_max_chars_over_several_files(tmp_path):
    for i, text in enumerate(DOCUMENTS):
        (tmp_path / f"{i}.txt").write_bytes(text.encode())
    for most in (1, 16, 17, 40, 10_000):
        trainer = BpeTrainer(max_chars=most)
        trainer.feed_files(tmp_path)
        assert dict(trainer.counts.items()) == naive.count(cut_in_all(DOCUMENTS, most))


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


# Several sizes, and feeds that fail or are inside of one another


def test_several_sizes_after_one_count():
    trainer = BpeTrainer()
    trainer.feed(DOCUMENTS)
    large = trainer.train(290)
    small = trainer.train(270)
    assert small.merges == large.merges[:14]
    assert trainer.train(290).fingerprint == large.fingerprint
    trainer.feed(["qq"] * 50)
    assert trainer.train(257).merges == [(b"q", b"q")]


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
        for text in DOCUMENTS:
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
