"""Random compositions of a tokenizer.json's components; see fuzz.compositions too."""

import json
import pickle
import random
from collections import Counter

import pytest

from bytemill import Tokenizer
from bytemill.formats.byte_alphabet import to_text
from bytemill.formats.tokenizer_json import content
from tests.support import compositions
from tests.support.families import byte_level, token

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")


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


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}])
def test_bytes_that_are_rare_in_text_may_be_missing(tmp_path, normalizer):
    """StarCoder lacks 0xf1, Falcon control characters. tokenizers leaves them out; here
    text with them is refused."""
    lacking = (1, 0x7F, 0xF1)
    tokens = [*(to_text(bytes([b])) for b in range(256) if b not in lacking), "ab"]
    vocab = {text: i for i, text in enumerate(tokens)}
    data = compositions.document(random.Random(3), vocab, [["a", "b"]])
    data.update(added_tokens=[], normalizer=normalizer, post_processor=None)
    data["pre_tokenizer"] = byte_level()
    rng = random.Random(2)
    texts = ["", "ab a\x02b", "e\u0301" * 3, "\U0003ffff\U00080000"]
    texts += [compositions.text(rng) for _ in range(30)]
    texts = [text for text in texts if not any(byte in text.encode() for byte in lacking)]
    assert compositions.compare(data, texts) == "equal"
    file = tmp_path / "tokenizer.json"
    file.write_text(compositions.dumped(data), encoding="utf-8")
    theirs, ours = tokenizers.Tokenizer.from_file(str(file)), Tokenizer.from_huggingface(file)
    assert theirs.encode("a\x01b", add_special_tokens=False).ids == [vocab["a"], vocab["b"]]
    ours.save(tmp_path / "saved")
    ours.to_huggingface(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == data
    for one in (ours, Tokenizer.load(tmp_path / "saved"), pickle.loads(pickle.dumps(ours))):
        assert one.fingerprint == ours.fingerprint
        assert one.encode("ab" * 9) == [vocab["ab"]] * 9
        for text, byte in (("a\x01b", "0x01"), ("\x7f", "0x7f"), ("ab" * 9 + "\U00040000", "0xf1")):
            for call in (one.encode, one.encode_ordinary, one.encode_with_offsets, one.count):
                with pytest.raises(ValueError, match=f"it has the byte {byte}"):
                    call(text)
            for calls in (one.encode_batch, lambda t, one=one: list(one.encode_iterable(t))):
                with pytest.raises(ValueError, match=f"it has the byte {byte}"):
                    calls(["fine", text])
    with pytest.raises(ValueError, match="fewer than all bytes"):
        ours.to_tiktoken("o")
