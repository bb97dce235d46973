"""Vocabularies in and out of other libraries, with the same ids for every text."""

import functools
import json
import os
import random
import sys
import warnings

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bytemill import Tokenizer
from bytemill.formats import byte_alphabet, huggingface
from tests.support.vocabularies import (
    CORPORA,
    CUSTOM,
    NAMED,
    OVERLAPPING,
    PIECES,
    corpus,
    generated_text,
    small_vocabulary,
    texts,
    tiktoken_encoding,
    train,
)

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

BYTES = {bytes([i]): i for i in range(256)}
WHOLE_CORPORA = bool(os.environ.get("BYTEMILL_SLOW_TESTS"))  # some minutes instead of seconds
PUBLISHED = ("gpt2", "cl100k_base", "o200k_base")
# tiktoken does not say which of two special tokens wins where one begins with the other.
SPECIAL = ("<|end|>", "[x] (.*)", "<s p>", "€")


class Exported:
    """A vocabulary and what both libraries make of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._tiktoken = tokenizer.to_tiktoken("test")
        self._huggingface = from_dict(huggingface.to_dict(tokenizer.vocabulary))

    def tiktoken(self, text: str) -> list[int]:
        return self._tiktoken.encode(text, allowed_special="all")

    def huggingface(self, text: str) -> list[int]:
        return self._huggingface.encode(text, add_special_tokens=False).ids


def from_dict(data: dict) -> "tokenizers.Tokenizer":
    return tokenizers.Tokenizer.from_str(json.dumps(data))


@functools.cache
def exported(pattern: str) -> Exported:
    return Exported(small_vocabulary(pattern, SPECIAL))


# Equal ids


@settings(max_examples=400, deadline=None)
@given(texts, st.sampled_from(NAMED + CUSTOM))
def test_other_libraries_give_equal_ids(text, pattern):
    ours = exported(pattern)
    ids = ours.tokenizer.encode(text)
    assert ids == ours.tiktoken(text)
    assert ids == ours.huggingface(text)


@pytest.mark.parametrize("pattern", NAMED + CUSTOM)
def test_other_libraries_give_equal_ids_for_many_texts(pattern):
    ours, rng = exported(pattern), random.Random(pattern)
    for _ in range(200):
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 60)))
        ids = ours.tokenizer.encode(text)
        assert ids == ours.tiktoken(text), text
        assert ids == ours.huggingface(text), text


@pytest.mark.parametrize("pattern", NAMED)
def test_every_code_point_is_cut_alike(pattern):
    # The engines carry Unicode tables of their own; a class that differs shows next to letters,
    # marks, digits and spaces.
    ours = exported(pattern)
    code_points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    rng = random.Random(0)
    assigned = [c for c in code_points[:0x33500] if c.isprintable()]
    for chars in (assigned[::11], rng.sample(code_points, 5_000)):
        text = "".join(f"a{c}b{c}1{c} {c}{c}\n" for c in chars)
        for start in range(0, len(text), 20_000):
            part = text[start : start + 20_000]
            ids = ours.tokenizer.encode(part)
            assert ids == ours.tiktoken(part)
            assert ids == ours.huggingface(part)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.binary(min_size=2, max_size=6).map(lambda b: bytes(97 + c % 3 for c in b)), max_size=16
    ),
    st.lists(st.text(alphabet="abc", max_size=40), max_size=12),
)
def test_ranks_that_no_training_gives_are_exported_exactly(tokens, samples):
    """Any set of tokens: unreachable ones, and parts of higher rank than the whole."""
    ranks = {**BYTES, **{token: 300 + i for i, token in enumerate(dict.fromkeys(tokens))}}
    tokenizer = Tokenizer.from_ranks(ranks, pattern=r"[a-z]+|\s+|[^a-z\s]")
    ours = Exported(tokenizer)
    for text in samples:
        ids = tokenizer.encode(text)
        assert ids == ours.tiktoken(text)
        assert ids == ours.huggingface(text)


def test_permuted_bytes_and_holes():
    rng = random.Random(3)
    base = train([generated_text(2)], 500)
    ids = rng.sample(range(256), 256) + [256 + 3 * i for i in range(len(base.vocab) - 256)]
    ranks = {token: ids[i] for i, token in base.vocab.items()}
    tokenizer = Tokenizer.from_ranks(ranks, {"<|end|>": 2000, "<|pad|>": 1500})
    ours = Exported(tokenizer)
    text = generated_text(4) + "<|end|><|pad|>"
    assert tokenizer.encode(text) == ours.tiktoken(text) == ours.huggingface(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.n_vocab == ours._tiktoken.n_vocab == 2001


def test_overlapping_special_tokens(tmp_path):
    tokenizer = train([generated_text(1)], 400, OVERLAPPING)
    tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rng = random.Random(0)
    for _ in range(500):
        text = "".join(rng.choices([*OVERLAPPING, "<|", "e", "nd|>", " ", "<"], k=8))
        assert tokenizer.encode(text) == other.encode(text).ids, text
    assert Tokenizer.from_huggingface(tmp_path).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["books", "code", "multi"])
@pytest.mark.parametrize("pattern", NAMED)
def test_equal_ids_on_shared_corpora(name, pattern):
    documents = corpus(name, None if WHOLE_CORPORA else 500_000)
    tokenizer = train(documents, 8192, ["<|endoftext|>"], pattern)
    assert tokenizer.n_vocab == 8192 or not WHOLE_CORPORA
    ours = Exported(tokenizer)
    for document in documents:
        document += "<|endoftext|>"
        ids = tokenizer.encode(document)
        assert ids == ours.tiktoken(document)
        assert ids == ours.huggingface(document)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_encodings(name, tmp_path):
    tokenizer = tiktoken_encoding(name)
    text = generated_text(5) + "".join(tokenizer.special_tokens)
    if CORPORA.is_dir():
        text += "".join(corpus("multi", 50_000) + corpus("code", 50_000))
    ids = tokenizer.encode(text)
    assert ids == tokenizer.to_tiktoken("test").encode(text, allowed_special="all")
    tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert ids == other.encode(text).ids
    assert other.decode(ids, skip_special_tokens=False) == text == tokenizer.decode(ids)
    assert Tokenizer.from_huggingface(tmp_path).fingerprint == tokenizer.fingerprint
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").fingerprint == tokenizer.fingerprint
    assert len(tokenizer.merges) == len(tokenizer.mergeable_ranks) - 256


def test_gpt2_and_r50k_are_one():
    assert tiktoken_encoding("gpt2").fingerprint == tiktoken_encoding("r50k_base").fingerprint


# Round trips


@pytest.mark.parametrize("pattern", NAMED + CUSTOM)
def test_round_trips(pattern, tmp_path):
    tokenizer = exported(pattern).tokenizer
    via_tiktoken = Tokenizer.from_tiktoken(tokenizer.to_tiktoken("test"))
    assert via_tiktoken.fingerprint == tokenizer.fingerprint
    assert via_tiktoken.name == "test"
    tokenizer.to_huggingface(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    via_huggingface = Tokenizer.from_huggingface(tmp_path / "tokenizer.json")
    assert via_huggingface.fingerprint == tokenizer.fingerprint
    assert via_huggingface.merges == tokenizer.merges


def test_tokenizers_own_training_can_be_taken_over(tmp_path):
    """Their files have the merges only, another order of the bytes, and look up no whole tokens."""
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = tokenizers.decoders.ByteLevel()
    other.train_from_iterator(
        [generated_text(1), "a" * 500],
        tokenizers.trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|end|>"],  # its id is 0
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    other.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_huggingface(tmp_path)
    assert tokenizer.special_tokens == {"<|end|>": 0}
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices(PIECES, k=30))
        assert tokenizer.encode(text) == other.encode(text).ids, text
    # And back out, as the files this library writes.
    assert Exported(tokenizer).huggingface(generated_text(2)) == other.encode(generated_text(2)).ids


# What an export refuses


def test_tiktoken_with_another_order_of_special_tokens_is_refused():
    """tiktoken may take the shorter of two special tokens; then nothing is exported."""
    refused = 0
    for n in range(20):
        pair = {f"<{n}>": 256, f"<{n}><{n}>": 257}
        tokenizer = Tokenizer.from_ranks(BYTES, pair)
        try:
            encoding = tokenizer.to_tiktoken("test")
        except ValueError as error:
            assert "tiktoken would give other ids" in str(error) and f"<{n}>" in str(error)
            refused += 1
        else:
            assert encoding.encode(f"<{n}><{n}>", allowed_special="all") == [257]
    assert refused < 20


@pytest.mark.parametrize("pattern", [r"^\p{L}+|[\s\S]", r"\p{N}{1,3}+|[\s\S]", r"\p{L}+$|[\s\S]"])
def test_huggingface_gets_other_words_for_a_pattern_it_reads_differently(pattern, tmp_path):
    ranks = {**BYTES, b"nd": 256, b"\nI": 257, b"123": 258, b"56": 259, b"4567": 260, b"012": 261}
    ranks.update({b"34": 262, b"345": 263, b"67": 264, b"He": 265})
    tokenizer = Tokenizer.from_ranks(ranks, pattern=pattern)
    tokenizer.to_huggingface(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices(["1", "2345", "67", "He", "and\n", "\nI", "\n", " ", "."], k=12))
        assert tokenizer.encode(text) == other.encode(text).ids, text


# Patterns on which the other libraries' code panics, which is not an Exception there.


def test_huggingface_that_gives_up_on_a_text_is_a_value_error(tmp_path):
    tokenizer = Tokenizer.from_ranks(BYTES, pattern=r"(?=(a+)+b)a|[\s\S]")
    with pytest.raises(ValueError, match=r"tokenizers panics on 'aaaa.*backtracks less"):
        tokenizer.to_huggingface(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pattern", ["a*|.", r"(?:\s*|x)", r"\b|\w+", "(?=b)", "x?"])
def test_tiktoken_with_a_pattern_that_may_match_nothing_is_refused(pattern):
    with pytest.raises(ValueError, match="may match nothing"):
        Tokenizer.from_ranks(BYTES, pattern=pattern).to_tiktoken("test")


def test_a_panic_of_tiktoken_is_a_value_error():
    # A back-reference, which the parser does not know, so that the sample has to show it.
    with pytest.raises(ValueError, match="tiktoken panics on"):
        Tokenizer.from_ranks(BYTES, pattern=r"(a?)\1|b").to_tiktoken("test")


def test_huggingface_with_a_pattern_it_cannot_read_is_refused(tmp_path):
    tokenizer = Tokenizer.from_ranks(BYTES, pattern=r"[\p{L}--a]+|[\s\S]|(?<x>a)(?P=x)")
    with pytest.raises(ValueError, match="tokenizers"):
        tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["the", "Ġthe", "é"])
def test_huggingface_with_an_ambiguous_special_token_is_refused(text, tmp_path):
    ranks = {**BYTES, b"th": 256, b"the": 257, b" the": 258}
    with pytest.raises(ValueError, match=f"special token '{text}'.*rename"):
        Tokenizer.from_ranks(ranks, {text: 300}).to_huggingface(tmp_path / "tokenizer.json")
    assert not list(tmp_path.iterdir())


def test_missing_libraries(tmp_path, monkeypatch):
    tokenizer, custom = exported("cl100k").tokenizer, exported(CUSTOM[0]).tokenizer
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match="pip install tiktoken"):
        tokenizer.to_tiktoken("test")
    with pytest.raises(ImportError, match="pip install tiktoken"):
        Tokenizer.from_tiktoken("cl100k_base")
    with pytest.warns(UserWarning, match=r"tokenizer\.json has not been checked.*write") as warned:
        tokenizer.to_huggingface(tmp_path / "tokenizer.json")
    assert [w.filename for w in warned] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Tokenizer.from_huggingface(tmp_path) == tokenizer
    # Of a pattern that no test has compared, reading says so too.
    path = tmp_path / "custom.json"
    path.write_text(json.dumps(huggingface.to_dict(custom.vocabulary)))
    with pytest.warns(UserWarning, match=r"custom\.json has not been checked.*read") as warned:
        assert Tokenizer.from_huggingface(path) == custom
    assert [w.filename for w in warned] == [__file__]


@given(st.binary(max_size=40))
def test_byte_alphabet_is_one_to_one(data):
    text = byte_alphabet.to_text(data)
    assert byte_alphabet.from_text(text) == data
    assert len(text) == len(data) and (not text or text.isprintable())
    assume(data)
    assert " " not in text


def test_byte_alphabet_is_theirs():
    theirs = set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert {byte_alphabet.to_text(bytes([i])) for i in range(256)} == theirs
    assert byte_alphabet.to_text(b" \n\x00") == "ĠĊĀ"
    assert byte_alphabet.from_text("日") is None
