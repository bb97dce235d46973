"""Random compositions of a tokenizer.json's components; see fuzz.compositions too."""

import random
from collections import Counter

import pytest

from bytemill import Tokenizer
from bytemill.formats.byte_alphabet import to_text
from bytemill.formats.tokenizer_json import content
from tests.support import compositions
from tests.support.families import byte_level, token

pytest.importorskip("tokenizers", reason="tokenizers is not installed")


def test_random_compositions_are_equal_or_refused():
    counts: Counter[str] = Counter()
    for seed in range(300):
        rng = random.Random(seed)
        data = compositions.document(rng, *compositions.small(rng))
        counts[compositions.compare(data, [compositions.text(rng) for _ in range(8)])] += 1
    assert counts["equal"] > 120
    # What they refuse and we read would be a file that nobody else can read.
    assert counts["refused there"] == 0


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("lstrip", [False, True])
@pytest.mark.parametrize("rstrip", [False, True])
def test_white_space_that_a_token_before_has_taken(normalized, lstrip, rstrip):
    """Nothing is left then for a token that takes what is before it."""
    vocab, merges = compositions.small(random.Random(0))
    flags = {"normalized": normalized, "lstrip": lstrip, "rstrip": rstrip}
    data = {
        "version": "1.0",
        "added_tokens": [
            {"id": len(vocab), **token("  ", **flags)},
            {"id": vocab["x"], **token("x", rstrip=True)},
        ],
        "pre_tokenizer": byte_level(),
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }
    data.update(dict.fromkeys(["normalizer", "post_processor", "decoder", "truncation", "padding"]))
    texts = [before + " " * n + after for before in "xab" for n in range(7) for after in ["", "a"]]
    assert compositions.compare(data, texts) == "equal"


def test_bytes_that_no_text_has_may_be_missing(tmp_path):
    """DeepSeek's vocabularies lack the 13 that UTF-8 never has."""
    bytes_of_text = [b for b in range(256) if b not in (0xC0, 0xC1, *range(0xF5, 0x100))]
    tokens = [*(to_text(bytes([byte])) for byte in bytes_of_text), "th", "the"]
    vocab, merges = {text: i for i, text in enumerate(tokens)}, [["t", "h"], ["th", "e"]]
    data = compositions.document(random.Random(3), vocab, merges)
    data.update(added_tokens=[], normalizer=None, post_processor=None, pre_tokenizer=byte_level())
    rng = random.Random(2)
    texts = [compositions.text(rng) for _ in range(50)]
    assert compositions.compare(data, texts) == "equal"
    file = tmp_path / "tokenizer.json"
    file.write_text(compositions.dumped(data), encoding="utf-8")
    ours = Tokenizer.from_huggingface(file)
    assert ours.n_vocab == len(ours) == len(tokens)
    ours.save(tmp_path / "saved")
    ours.to_huggingface(tmp_path / "again.json")
    smaller = ours.pruned(texts)
    with pytest.raises(ValueError, match=r"cannot be extended: it lacks 13 .* b'.xc0'"):
        ours.extended(["the the the"], len(tokens) + 1)
    for other in (
        Tokenizer.load(tmp_path / "saved"),
        Tokenizer.from_huggingface(tmp_path / "again.json"),
    ):
        assert [other.encode(text) for text in texts] == [ours.encode(text) for text in texts]
        assert other.fingerprint == ours.fingerprint
    for text in texts:
        assert ours.decode(ours.encode(text)) == text
        assert smaller.decode(smaller.encode(text)) == text
    del data["model"]["vocab"][to_text(b"a")]
    file.write_text(compositions.dumped(data), encoding="utf-8")
    with pytest.raises(ValueError, match="1 single bytes are missing, the first 0x61"):
        Tokenizer.from_huggingface(file)


def test_tokens_that_are_not_in_the_byte_alphabet(tmp_path):
    """No text has them, but ids may: Command-R's vocabulary has emoji as they are."""
    tokens = [*(to_text(bytes([byte])) for byte in range(256)), "\u200d", "中文", "th"]
    vocab = {text: i for i, text in enumerate(tokens)}
    data = compositions.document(random.Random(3), vocab, [["t", "h"]])
    data.update(added_tokens=[], normalizer=None, post_processor=None, pre_tokenizer=byte_level())
    rng = random.Random(2)
    texts = [compositions.text(rng) + "\u200d中文 th" for _ in range(50)]
    assert compositions.compare(data, texts) == "equal"
    file = tmp_path / "tokenizer.json"
    file.write_text(compositions.dumped(data), encoding="utf-8")
    ours = Tokenizer.from_huggingface(file)
    ours.save(tmp_path / "saved")
    ours.to_huggingface(tmp_path / "again.json")
    again = Tokenizer.from_huggingface(tmp_path / "again.json")
    for tokenizer in (ours, Tokenizer.load(tmp_path / "saved"), again):
        assert tokenizer.decode([256, 258, 257]) == "\u200dth中文"
        assert (tokenizer.n_vocab, len(tokenizer)) == (259, 259)
        assert tokenizer.encode("th中文")[0] == 258
    vocab["中文"] = 258
    with pytest.raises(ValueError, match="the id 258 of '中文' is another token's"):
        content.vocabulary(data, "twice")
    vocab["中文"] = -1
    with pytest.raises(ValueError, match="the id of '中文' is -1"):
        content.vocabulary(data, "negative")
