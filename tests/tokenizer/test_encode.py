import itertools
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill import Tokenizer
from tests.support.against_tiktoken import (
    ALL,
    PATTERNS,
    TEXT,
    cases,
    edge_cases,
    lossless,
    overlapping,
    pair,
    trained,
)
from tests.support.vocabularies import CUSTOM, corpus, texts

BYTES = {bytes([i]): i for i in range(256)}
EDGE_CASES = edge_cases()


def repaired(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def check_all_methods(tokenizer: Tokenizer, encoding, text: str) -> list[int]:
    """Every method that encodes one text, against tiktoken or against `encode`."""
    ids = encoding.encode(text, allowed_special="all")
    assert tokenizer.encode(text) == ids
    plain = encoding.encode_ordinary(text)
    assert tokenizer.encode_ordinary(text) == plain
    assert tokenizer.encode(text, allowed_special=()) == plain
    assert tokenizer.encode_to_numpy(text).tolist() == ids
    assert tokenizer.count(text) == len(ids)
    assert tokenizer.count(text, allowed_special=set()) == len(plain)
    assert tokenizer.encode_batch([text, "", text]) == [ids, [], ids]
    found, spans = tokenizer.encode_with_offsets(text)
    assert found == ids
    check_spans(tokenizer, text, ids, spans)
    assert list(tokenizer.encode_iterable([text])) == ids
    return ids


def check_spans(tokenizer: Tokenizer, text: str, ids: list[int], spans) -> None:
    assert len(spans) == len(ids)
    last = 0
    for id_, (start, end) in zip(ids, spans, strict=True):
        assert 0 <= start < end <= len(text)
        assert start >= last or start == last - 1 or end == last
        token = tokenizer.decode_single_token_bytes(id_)
        assert token in repaired(text[start:end]).encode()
        last = end
    if lossless(tokenizer):
        assert (spans[0][0], spans[-1][1]) == (0, len(text)) if spans else not text
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert start <= end


# Equality with tiktoken


@pytest.mark.parametrize("name", ALL)
def test_every_method_on_edge_cases(name):
    tokenizer, encoding = pair(name)
    for text in EDGE_CASES:
        check_all_methods(tokenizer, encoding, text)


@pytest.mark.parametrize("name", ALL)
def test_every_method_on_generated_strings(name):
    tokenizer, encoding = pair(name)

    @settings(max_examples=cases(60), deadline=None, derandomize=True, database=None)
    @given(texts)
    def check(text):
        check_all_methods(tokenizer, encoding, text)

    check()


@pytest.mark.parametrize("name", ALL)
def test_batches(name):
    tokenizer, encoding = pair(name)
    batch = [*EDGE_CASES, TEXT, TEXT * 30, "", TEXT + "<|endoftext|>" + TEXT * 9, *EDGE_CASES]
    expected = [encoding.encode(text, allowed_special="all") for text in batch]
    for threads in (None, 1, 2, 3, 9):
        assert tokenizer.encode_batch(batch, threads) == expected
    assert tokenizer.encode_batch(iter(batch)) == expected
    plain = [encoding.encode_ordinary(text) for text in batch]
    assert tokenizer.encode_ordinary_batch(batch, num_threads=2) == plain
    assert tokenizer.count_batch(batch) == [len(ids) for ids in expected]
    assert tokenizer.count_batch(batch, 3, allowed_special=()) == [len(ids) for ids in plain]
    ids, offsets = tokenizer.encode_batch_to_numpy(batch, 2)
    assert ids.tolist() == [id_ for each in expected for id_ in each]
    assert np.diff(offsets).tolist() == [len(each) for each in expected]
    assert offsets.dtype == np.uint64 and len(offsets) == len(batch) + 1 and offsets[0] == 0
    assert ids.dtype == (np.uint16 if tokenizer.n_vocab <= 65536 else np.uint32)
    assert ids.flags.writeable


@pytest.mark.parametrize("name", ["books", "code", "multi"])
@pytest.mark.parametrize("published", ["gpt2", "cl100k_base", "o200k_base"])
def test_shared_text(name, published):
    tokenizer, encoding = pair(published)
    documents = corpus(name, cases(1_000_000))
    expected = encoding.encode_ordinary_batch(documents)
    assert tokenizer.encode_batch(documents) == expected
    joined = "<|endoftext|>".join(documents)
    ids = tokenizer.encode_to_numpy(joined)
    assert ids.tolist() == encoding.encode(joined, allowed_special="all")
    assert tokenizer.encode_batch_to_numpy([joined])[0].tolist() == ids.tolist()
    assert tokenizer.decode(ids) == joined
    _, spans = tokenizer.encode_with_offsets(joined)
    assert all(start <= end for (_, end), (start, _) in itertools.pairwise(spans))
    assert list(tokenizer.encode_iterable(joined.splitlines(keepends=True))) == ids.tolist()


def test_long_texts_are_shared_out_among_threads():
    # One text, far longer than a task, with special tokens that overlap, at every kind of place.
    rng = random.Random(1)
    for pattern in PATTERNS:
        tokenizer = overlapping(pattern)
        words = [*TEXT.split(" "), *list(tokenizer.special_tokens) * 3, "\n\n", "x" * 50, "<|e"]
        text = " ".join(rng.choices(words, k=60_000)) + "".join(rng.choices(words, k=20_000))
        expected = tokenizer.encode(text)
        for threads in (1, 2, 5):
            assert tokenizer.encode_batch([text, "a", text], threads) == [
                expected,
                tokenizer.encode("a"),
                expected,
            ]
        assert tokenizer.count_batch([text], 2) == [len(expected)]


# Special tokens


METHODS = ("encode", "encode_to_numpy", "count", "encode_with_offsets")
BATCHES = ("encode_batch", "encode_batch_to_numpy", "count_batch")


def test_disallowed_special_tokens_are_refused_as_in_tiktoken():
    tokenizer, encoding = pair("trained: gpt2")
    strict = {"allowed_special": set(), "disallowed_special": "all"}
    for text in ("a <|endoftext|>", "<|endoftext|>", "\ud83d<|endoftext|>"):
        with pytest.raises(ValueError):
            encoding.encode(text)
        calls = [(getattr(tokenizer, method), text) for method in METHODS]
        calls += [(getattr(tokenizer, method), ["", text]) for method in BATCHES]
        calls += [(lambda t, **kw: tokenizer.truncate(t, 5, **kw), text)]
        for method, argument in calls:
            with pytest.raises(ValueError, match=r"<\|endoftext\|>.*allowed_special=.*=\(\)"):
                method(argument, **strict)
    ordinary = "no such thing <|endoftext"
    assert tokenizer.encode(ordinary, **strict) == encoding.encode(ordinary)


def test_choices_of_special_tokens_are_tiktokens():
    tokenizer, encoding = pair("trained: gpt2")
    specials = list(tokenizer.special_tokens)
    text = "a" + " b".join(specials) + "<no such>"
    subsets = [set(), {specials[0]}, set(specials), {*specials[:1], "unknown"}, "all"]
    for allowed, disallowed in itertools.product(subsets, [(), *subsets, ["<no such>"], ["zz"]]):
        options = {"allowed_special": allowed, "disallowed_special": disallowed}
        try:
            expected = encoding.encode(text, **options)
        except ValueError:
            with pytest.raises(ValueError):
                tokenizer.encode(text, **options)
        else:
            assert tokenizer.encode(text, **options) == expected
            assert tokenizer.encode_batch([text], **options) == [expected]
            assert tokenizer.count(text, **options) == len(expected)
    assert tokenizer.encode("\ud83d\udc4d", disallowed_special={"\U0001f44d"})


def test_many_choices_of_special_tokens_are_not_kept():
    special = {f"<{i}>": 256 + i for i in range(100)}
    tokenizer = Tokenizer.from_ranks(BYTES, special)
    for token, id_ in special.items():
        assert tokenizer.encode(token, allowed_special={token}) == [id_]
    assert len(tokenizer._sets) <= 64


def test_special_tokens_are_matched_longest_first():
    for pattern in PATTERNS:
        tokenizer = overlapping(pattern)
        end, twice, short = (
            tokenizer.special_tokens[t] for t in list(tokenizer.special_tokens)[:3]
        )
        text, ids = "<|end|><|end|><|end|><|e", [twice, end, short]
        assert tokenizer.encode(text) == ids
        assert tokenizer.encode_batch([text]) == [ids]
        assert tokenizer.encode_with_offsets(text) == (ids, [(0, 14), (14, 21), (21, 24)])
        assert list(tokenizer.encode_iterable(text)) == ids
        assert tokenizer.truncate(text, 2) == text[:21]


# Single tokens, offsets, truncation


@pytest.mark.parametrize("name", ALL)
def test_single_tokens(name):
    tokenizer, encoding = pair(name)
    rng = random.Random(0)
    for token in rng.sample(list(tokenizer.mergeable_ranks), 100):
        assert tokenizer.encode_single_token(token) == encoding.encode_single_token(token)
    for text in tokenizer.special_tokens:
        assert tokenizer.encode_single_token(text) == encoding.encode_single_token(text)
        assert tokenizer.encode_single_token(text.encode()) == encoding.encode_single_token(text)
    assert tokenizer.encode_single_token("a") == encoding.encode_single_token("a")
    for missing in ("", b"", "no token at all", b"\xff\xfe\xff", "\ud83d no"):
        with pytest.raises(KeyError):
            tokenizer.encode_single_token(missing)
    with pytest.raises(TypeError, match="3"):
        tokenizer.encode_single_token(3)


def test_offsets_of_characters_shared_by_tokens():
    tokenizer = Tokenizer.from_ranks(
        {**BYTES, b" \xf0": 256, b" \xf0\x9f": 257, b"\x91\x8d": 258}, {"<s>": 259}
    )
    assert tokenizer.encode_with_offsets("a \U0001f44db<s>é") == (
        [97, 257, 258, 98, 259, 0xC3, 0xA9],
        [(0, 1), (1, 3), (2, 3), (3, 4), (4, 7), (7, 8), (7, 8)],
    )
    # A pair of surrogates is one character of two items.
    assert tokenizer.encode_with_offsets("a \ud83d\udc4d\ud83db")[1] == [
        (0, 1), (1, 4), (2, 4), (4, 5), (4, 5), (4, 5), (5, 6)
    ]  # fmt: skip
    assert tokenizer.encode_with_offsets("") == ([], [])


def test_offsets_with_text_that_belongs_to_no_token():
    tokenizer = trained(CUSTOM[1])
    assert not lossless(tokenizer)
    text = "  ab--12 <|end|> ü"
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text)
    covered = {i for start, end in spans for i in range(start, end)}
    assert "".join(text[i] for i in sorted(covered)) == "ab12<|end|>ü"


@pytest.mark.parametrize("name", ALL)
def test_truncate(name):
    tokenizer, _ = pair(name)

    @settings(max_examples=cases(60), deadline=None, derandomize=True, database=None)
    @given(texts, st.integers(0, 30))
    def check(text, max_tokens):
        kept = tokenizer.truncate(text, max_tokens)
        assert text.startswith(kept)
        ids = tokenizer.encode(text)
        if len(ids) <= max_tokens:
            assert kept == text
            return
        assert tokenizer.count(kept) <= max_tokens
        # It is the first of the ends of tokens, from the last allowed on, that fits.
        spans = tokenizer.encode_with_offsets(text)[1]
        for k in range(max_tokens, 0, -1):
            prefix = tokenizer.decode_bytes(ids[:k])
            if lossless(tokenizer):
                candidate = len(prefix.decode(errors="ignore"))
            else:
                candidate = spans[k - 1][1] - ((k < len(spans)) and spans[k][0] < spans[k - 1][1])
            if len(tokenizer.encode(text[:candidate])) <= max_tokens:
                assert kept == text[:candidate]
                return
        assert kept == ""

    check()


def test_truncate_stops_early_and_keeps_surrogates():
    tokenizer = trained("cl100k")
    text = TEXT * 2000
    started = time.process_time()
    assert tokenizer.count(tokenizer.truncate(text, 10)) == 10
    assert time.process_time() - started < 1
    plain = Tokenizer.from_ranks(BYTES)
    for max_tokens, n_kept in ((3, 0), (4, 2), (6, 2), (7, 3), (8, 4), (9, 5)):
        text = "\ud83d\udc4d\ud83d a"
        assert plain.truncate(text, max_tokens) == text[:n_kept]
    assert tokenizer.truncate(TEXT, 0) == "" == tokenizer.truncate("", 0)
    # 'l of 'll is two tokens though 'll begins with one.
    contraction = Tokenizer.from_ranks({**BYTES, b"'l": 256}, pattern="gpt2")
    assert contraction.encode("'ll") == [256, ord("l")]
    assert contraction.truncate("'ll", 1) == ""
    for bad, error in ((-1, ValueError), (1.5, TypeError), (None, TypeError), ("3", TypeError)):
        with pytest.raises(error, match="max_tokens"):
            tokenizer.truncate("a", bad)


def test_truncate_with_a_pattern_whose_look_ahead_decides():
    tokenizer = Tokenizer.from_ranks({**BYTES, b"xx": 256, b"xxxx": 257}, pattern=r"x+(?=y)|.")
    text = "x" * 4_000 + "y"
    kept = tokenizer.truncate(text, 800)
    assert 0 < len(kept) <= 800 and tokenizer.count(kept) <= 800


# What is refused


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["list"], np.array([1])])
def test_texts_of_other_types(bad):
    tokenizer = trained("gpt2")
    for method in (*METHODS, "encode_ordinary"):
        with pytest.raises(TypeError):
            getattr(tokenizer, method)(bad)
    with pytest.raises(TypeError):
        tokenizer.truncate(bad, 3)
    for method in (*BATCHES, "encode_ordinary_batch"):
        with pytest.raises(TypeError, match=r"texts\[1\]"):
            getattr(tokenizer, method)(["a", bad])
    with pytest.raises(TypeError):
        list(tokenizer.encode_iterable(["a", bad]))


@pytest.mark.parametrize("method", [*BATCHES, "encode_ordinary_batch"])
def test_bad_batches(method):
    call = getattr(trained("gpt2"), method)
    for bad in ("text", b"text"):
        with pytest.raises(TypeError, match="list of str"):
            call(bad)
    with pytest.raises(TypeError):
        call(None)
    for threads, error in (
        (0, ValueError),
        (-1, ValueError),
        (2**70, ValueError),
        ("2", TypeError),
    ):
        with pytest.raises(error, match="num_threads"):
            call(["a"], threads)


def test_empty_batches():
    tokenizer = trained("gpt2")
    assert tokenizer.encode_batch([]) == [] == tokenizer.count_batch([])
    ids, offsets = tokenizer.encode_batch_to_numpy([])
    assert ids.tolist() == [] and offsets.tolist() == [0]
    assert tokenizer.encode_batch(["", ""]) == [[], []]
    assert tokenizer.encode_batch_to_numpy(["", ""])[1].tolist() == [0, 0, 0]
    assert tokenizer.encode_to_numpy("").tolist() == []


@pytest.mark.parametrize("argument", ["allowed_special", "disallowed_special"])
def test_sets_of_special_tokens_of_other_types(argument):
    tokenizer = trained("gpt2")
    with pytest.raises(TypeError, match=f"{argument}='<|end|>'"):
        tokenizer.encode("x", **{argument: "<|end|>"})
    with pytest.raises(TypeError):
        tokenizer.encode("x", **{argument: 3})
    with pytest.raises(TypeError):
        tokenizer.encode("x", **{argument: [3, "a"]})


def test_a_pattern_that_backtracks_too_far_is_an_error():
    tokenizer = Tokenizer.from_ranks(BYTES, pattern=r"(a*)*\1b|.")
    text = "a" * 60
    for call in (tokenizer.encode, tokenizer.count, lambda t: tokenizer.encode_batch([t])):
        with pytest.raises(ValueError, match="backtrack"):
            call(text)
    assert tokenizer.encode("xyz") == list(b"xyz")


def test_numpy_width_follows_the_vocabulary():
    for highest, dtype in ((65535, np.uint16), (65536, np.uint32), (2**32 - 2, np.uint32)):
        tokenizer = Tokenizer.from_ranks({**BYTES, b"ab": highest})
        ids = tokenizer.encode_to_numpy("abab")
        assert ids.dtype == dtype and ids.tolist() == [highest] * 2
        assert tokenizer.decode(ids) == "abab"
        assert tokenizer.encode_batch_to_numpy(["abab"])[0].tolist() == [highest] * 2
