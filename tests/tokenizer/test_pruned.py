"""Vocabularies cut down to texts: what stays, by a naive version, and what texts become."""

import json
import random

import pytest

from bytemill import BpeTrainer, Tokenizer
from tests.support import families, naive
from tests.support.vocabularies import PIECES, generated_text

SPECIAL = ["<|end|>", "€"]
TEXT = generated_text(0, 2500)
OTHER = generated_text(9, 250)


@pytest.fixture(scope="module")
def whole():
    made = BpeTrainer(special_tokens=SPECIAL, pattern="gpt2")
    made.feed([TEXT])
    return made.train(480)


def tokens(tokenizer, text, **options):
    return tokenizer.decode_tokens_bytes(tokenizer.encode(text, **options))


@pytest.mark.parametrize("seed", range(5))
def test_what_stays_is_what_is_needed(whole, seed):
    rng = random.Random(seed)
    text = " ".join(rng.choices(TEXT.split(" "), k=12)) + "".join(rng.choices(PIECES, k=5))
    ours = whole.pruned([text])
    expected = naive.needed(naive.count([text], special_tokens=SPECIAL), whole.merges)
    assert set(ours.mergeable_ranks) == expected
    assert 256 < len(expected) < len(whole.mergeable_ranks)
    # In the same order, without holes, and with the same merges.
    assert sorted(ours.vocab) == list(range(len(expected) + len(SPECIAL)))
    assert list(ours.vocab.values()) == [t for t in whole.vocab.values() if t in ours]
    assert ours.merges == [pair for pair in whole.merges if pair[0] + pair[1] in expected]
    assert tokens(ours, text) == tokens(whole, text)
    assert ours.decode(ours.encode(TEXT + OTHER)) == TEXT + OTHER
    assert ours.pruned([text]) == ours


def test_rare_tokens_go_and_what_others_need_stays(whole):
    ours = whole.pruned([OTHER], min_count=20)
    counts = {}
    for token in tokens(whole, OTHER):
        counts[token] = counts.get(token, 0) + 1
    kept = {bytes([byte]) for byte in range(256)}
    kept |= {token for token, n in counts.items() if n >= 20 and token in whole.mergeable_ranks}
    for left, right in reversed(whole.merges):
        if left + right in kept:
            kept |= {left, right}
    assert set(ours.mergeable_ranks) == kept
    assert len(kept) < len(whole.pruned([OTHER]).mergeable_ranks)
    assert ours.decode(ours.encode(OTHER)) == OTHER


def test_the_form_of_the_input_makes_no_difference(whole, tmp_path):
    text = f"{OTHER}<|end|>{OTHER[:300]}"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    ours = whole.pruned([text])
    assert whole.pruned(str(tmp_path / "a.txt")) == ours
    assert whole.pruned([tmp_path / "a.txt"]) == ours
    assert whole.pruned(iter(text.split("<|end|>"))) == ours


@pytest.mark.parametrize("texts", [[], [""], ["<|end|>€"], ["\ud83d"]])
def test_of_almost_nothing_the_bytes_and_special_tokens_stay(whole, texts):
    ours = whole.pruned(texts)
    assert len(ours) <= 258 + 2  # U+FFFD may be a token of two merges
    assert ours.decode(ours.encode("the <|end|>")) == "the <|end|>"


def test_special_tokens_with_the_first_ids_keep_their_place():
    bytes_ = {bytes([byte]): byte + 2 for byte in range(256)}
    ranks = {**bytes_, b"ab": 300, b"cd": 301, b"abcd": 302, b"xyz": 303, b"unused": 304}
    whole = Tokenizer.from_ranks(ranks, {"<a>": 0, "<b>": 1, "<same>": 1, "<z>": 400})
    ours = whole.pruned(["abcd xyz"], min_count=1)
    assert ours.special_tokens == {"<a>": 0, "<b>": 1, "<same>": 1, "<z>": 261}
    assert ours.mergeable_ranks[b"abcd"] == 260
    assert {b"ab", b"cd"} < set(ours.mergeable_ranks)
    assert b"unused" not in ours
    # A token that no merge makes is one where it is a whole pretoken.
    assert tokens(whole.pruned(["xyz"]), "xyz") == [b"xyz"]


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_published_shapes(name, tmp_path):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    file = tmp_path / "tokenizer.json"
    file.write_text(families.document(name), encoding="utf-8")
    whole = Tokenizer.from_huggingface(file)
    ours = whole.pruned([OTHER])
    assert len(ours) < len(whole)
    assert list(ours.special_tokens) == list(whole.special_tokens)
    assert tokens(ours, OTHER, add_special_tokens=True) == tokens(
        whole, OTHER, add_special_tokens=True
    )
    ours.to_huggingface(file)  # which compares ids with tokenizers
    assert Tokenizer.from_huggingface(file) == ours
    assert json.loads(file.read_text(encoding="utf-8"))["model"]["merges"]


def test_bad_arguments(whole, tmp_path):
    with pytest.raises(ValueError, match="min_count=0"):
        whole.pruned([TEXT], min_count=0)
    with pytest.raises(TypeError, match="min_count"):
        whole.pruned([TEXT], min_count=1.5)
    with pytest.raises(TypeError, match="is not a str"):
        whole.pruned([b"abc"])
    with pytest.raises(FileNotFoundError):
        whole.pruned(tmp_path / "missing.txt")
