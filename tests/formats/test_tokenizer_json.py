"""tokenizer.json: what is taken over, and what is refused."""

import json
import pickle
import random
import re

import pytest

from bytemill import Tokenizer
from bytemill.formats import byte_alphabet, huggingface
from bytemill.vocabulary import Vocabulary
from tests.support.vocabularies import PIECES, small_vocabulary

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

BYTES = {bytes([i]): i for i in range(256)}


def changed(path: str, value: object) -> dict:
    """A good tokenizer.json with one thing changed; `path` is its dotted place."""
    data = huggingface.to_dict(Vocabulary({**BYTES, b"ab": 256, b"abc": 257}, {"<|end|>": 258}))
    place: dict = data
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[int(last) if last.isdigit() else last] = value
    return data


SPLIT = "pre_tokenizer.pretokenizers.0"


LENGTH = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}


def template(before: list[str], special: dict) -> dict:
    pieces = [{"SpecialToken": {"id": name, "type_id": 0}} for name in before]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    both = [text, {"Sequence": {"id": "B", "type_id": 1}}]
    return {
        "type": "TemplateProcessing",
        "single": [*pieces, text],
        "pair": both,
        "special_tokens": special,
    }


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("post_processor", {"type": "TemplateProcessing"}, "post_processor.*TemplateProcessing"),
        ("decoder", {"type": "Metaspace"}, "decoder.*Metaspace"),
        ("model", None, "model is None"),
        ("model.type", "WordPiece", "model.type is 'WordPiece'"),
        ("model.dropout", 0.1, "model.dropout is 0.1"),
        ("model.continuing_subword_prefix", "##", "continuing_subword_prefix is '##'"),
        ("model.end_of_word_suffix", "</w>", "end_of_word_suffix is '</w>'"),
        ("model.vocab", ["a"], "model.vocab"),
        ("model.merges", None, "model.merges is None"),
        ("model.merges", [["a", "b"], ["a", "bc"]], "needs the token 'bc'"),
        ("model.merges", [["a", "b"], ["ab"]], "not a merge of two tokens"),
        ("pre_tokenizer", None, "pre_tokenizer is .*no counterpart"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer is .*Whitespace"),
        ("pre_tokenizer", "ByteLevel", "'ByteLevel' is not a component"),
        (f"{SPLIT}", {"type": "Digits"}, "Digits's individual_digits is None"),
        (f"{SPLIT}", {"type": "UnicodeScripts"}, "UnicodeScripts has no counterpart"),
        (f"{SPLIT}.pattern", {"Regex": "(x"}, "a group without an end"),
        (f"{SPLIT}.pattern", {"Regex": "a*|b"}, "may match nothing.*[+] for [*]"),
        ("pre_tokenizer.pretokenizers", [], "pre_tokenizer"),
        ("added_tokens.0.content", None, "not an added token"),
        ("added_tokens.0.content", "", "empty"),
        ("added_tokens.0.id", 3, "is 3 in the file.* gives 258"),
        ("added_tokens.0.lstrip", 1, "lstrip of .* is 1"),
        ("added_tokens", [{"content": "a", "id": 97}, {"content": "a", "id": 98}], "'a' .*twice"),
        ("added_tokens", {"content": "a", "id": 97}, "added_tokens is .*not a list"),
        ("version", "2.0", "version is '2.0'"),
        ("normalizer", {"type": "Nmt"}, "normalizer Nmt has no counterpart"),
        ("normalizer", {"type": "Sequence"}, "no list of normalizers"),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 1001}, "1000"),
        ("normalizer", {"type": "Prepend"}, "Prepend's prepend is None"),
        ("normalizer", {"type": "Prepend", "prepend": ""}, "prepend is empty"),
        ("normalizer", {"type": "Strip", "strip_left": 1, "strip_right": True}, "strip_left is 1"),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "x*"}, "content": ""}, "nothing"),
        ("normalizer", {"type": "Replace", "pattern": "x", "content": ""}, "Replace by 'x'"),
        ("post_processor", {"type": "BertProcessing"}, "BertProcessing's cls is None"),
        ("post_processor", template(["<x>"], {}), "names '<x>'.*not among"),
        ("post_processor", template([], {}) | {"single": []}, "the text 0 times"),
        ("post_processor", template([], {}) | {"single": [{}]}, "not a piece of a template"),
        ("pre_tokenizer.pretokenizers.0", {"type": "ByteLevel"}, "has ByteLevel in it once"),
        ("pre_tokenizer.pretokenizers.1.add_prefix_space", True, "add_prefix_space after other"),
        ("pre_tokenizer.pretokenizers.1.add_prefix_space", 1, "add_prefix_space is 1"),
        (f"{SPLIT}.behavior", "Apart", "behavior is 'Apart'"),
        (f"{SPLIT}.invert", None, "invert is None"),
        (f"{SPLIT}.pattern", {"String": ""}, "Split by"),
        ("added_tokens.0", {"content": "é", "id": 0xE9}, "'é' is also the byte 0xe9"),
        ("added_tokens.0", "x", "added_tokens is 'x'"),
    ],
)
def test_tokenizer_json_without_a_counterpart(tmp_path, path, value, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        Tokenizer.from_huggingface(tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("normalizer", {"type": "NFC"}),
        ("normalizer", {"type": "Prepend", "prepend": "ab"}),
        ("truncation", LENGTH),
        ("padding", None),
        ("post_processor", template([], {})),
        ("model.unk_token", "<unk>"),
        ("model.byte_fallback", True),
        ("model.dropout", 0.0),
        ("model.merges", [["ab", "c"], ["a", "b"]]),
        ("model.merges", [["a", "b"]]),
        ("model.merges", []),
        ("model.ignore_merges", False),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
        ("pre_tokenizer.pretokenizers", [huggingface._BYTE_LEVEL | {"use_regex": False}]),
        (f"{SPLIT}.pattern", {"String": "b"}),
        (f"{SPLIT}.pattern", {"Regex": "b"}),
        (f"{SPLIT}.behavior", "Removed"),
        (f"{SPLIT}.invert", True),
        ("pre_tokenizer.pretokenizers.1.use_regex", True),
        ("added_tokens.0.lstrip", True),
        ("added_tokens.0.single_word", True),
        ("added_tokens.0.special", False),
        ("added_tokens", [{"id": 256, "content": "ab"}, {"id": 97, "content": "a"}]),
        ("added_tokens", []),
    ],
)
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_tokenizer_json_read_as_tokenizers_reads_it(tmp_path, path, value, ignore_merges):
    data = changed(path, value)
    if path == "added_tokens":
        plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        data["added_tokens"] = [{**plain, **entry} for entry in value]
    if path != "model.ignore_merges":
        data["model"]["ignore_merges"] = ignore_merges
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    ours = Tokenizer.from_huggingface(tmp_path)
    other = tokenizers.Tokenizer.from_str(json.dumps(data))
    other.no_truncation()
    rng = random.Random(3)
    pieces = ["a", "b", "ab", "abc", "c", " ", "<|end|>", "e\u0301", "\u0301", "x"]
    for _ in range(300):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 8)))
        assert ours.encode(text) == other.encode(text).ids, text
    ours.to_huggingface(tmp_path / "again.json")
    assert Tokenizer.from_huggingface(tmp_path / "again.json").fingerprint == ours.fingerprint


def test_added_tokens_of_two_passes(tmp_path):
    data = changed("added_tokens.0.normalized", True)
    second = {**data["added_tokens"][0], "id": 259, "content": "|><", "normalized": False}
    data["added_tokens"].append(second)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    ours = Tokenizer.from_huggingface(tmp_path)
    # The later pass does not find what the earlier one has taken a part of.
    text = "<|end|><|end|>"
    assert ours.encode(text) == tokenizers.Tokenizer.from_str(json.dumps(data)).encode(text).ids
    assert 259 in ours.encode(text)
    assert 258 in ours.encode(text, allowed_special={"<|end|>"})


def test_a_shape_is_refused_where_it_cannot_be_kept(tmp_path):
    data = changed("normalizer", {"type": "NFC"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    ours = Tokenizer.from_huggingface(tmp_path)
    with pytest.raises(ValueError, match=r"tiktoken encoding .*normalizer \(NFC\)"):
        ours.to_tiktoken("x")
    with pytest.raises(ValueError, match=r"vocab\.json.*normalizer \(NFC\)"):
        ours.to_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    with pytest.raises(ValueError, match=r"tokenizer\.json .*cannot be truncated"):
        ours.truncated(257)


def test_tokenizer_json_with_all_splits_of_each_token(tmp_path):
    """As transformers converts tiktoken's ranks: every pair that joins to a token, by rank."""
    tokenizer = small_vocabulary("o200k", ("<|end|>", "[x] (.*)", "<s p>", "€"))
    ranks = tokenizer.mergeable_ranks
    data = huggingface.to_dict(tokenizer.vocabulary)
    data["model"]["merges"] = [
        " ".join(map(byte_alphabet.to_text, pair))
        for token in sorted(ranks, key=ranks.__getitem__)
        for pair in sorted(
            ((token[:i], token[i:]) for i in range(1, len(token))),
            key=lambda pair: (ranks.get(pair[0], -1), ranks.get(pair[1], -1)),
        )
        if pair[0] in ranks and pair[1] in ranks
    ]
    assert len(data["model"]["merges"]) > len(tokenizer.merges)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    again = Tokenizer.from_huggingface(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    other = tokenizers.Tokenizer.from_str(json.dumps(data))
    rng = random.Random(7)
    for _ in range(200):
        text = "".join(rng.choices(PIECES, k=40))
        assert again.encode(text) == other.encode(text).ids


@pytest.mark.parametrize(
    "section, key, leaf",
    [
        ("normalizer", "normalizers", {"type": "NFC"}),
        ("pre_tokenizer", "pretokenizers", None),
        ("decoder", "decoders", None),
    ],
)
def test_nested_as_deep_as_tokenizers_reads(tmp_path, section, key, leaf):
    document = huggingface.to_dict(Vocabulary(BYTES))
    leaf = document[section] if leaf is None else leaf

    def read(n: int) -> Tokenizer:
        document[section] = leaf
        for _ in range(n):
            document[section] = {"type": "Sequence", key: [document[section]]}
        (tmp_path / "tokenizer.json").write_text(json.dumps(document))
        return Tokenizer.from_huggingface(tmp_path)

    def is_read_by_theirs() -> bool:
        try:
            tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        except Exception:
            return False
        return True

    outcomes = []
    for n in (61, 62, 63, 64):
        try:
            tokenizer = read(n)
        except ValueError as error:
            assert re.search(rf"tokenizer\.json: {section} is nested more than 127", str(error))
            outcomes.append(False)
        else:
            assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
            outcomes.append(True)
        assert outcomes[-1] == is_read_by_theirs()
    assert {*outcomes} == {True, False}
    # So deep that a pickle of it would not end well.
    with pytest.raises(ValueError, match=rf"{section} is nested more than 127 deep"):
        read(300)
