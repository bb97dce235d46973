"""Vocabularies from other libraries' files: what is taken over, and what is refused."""

import functools
import hashlib
import json
import random

import pytest

from bytemill import Tokenizer, _core, patterns
from bytemill.formats import byte_alphabet, huggingface
from bytemill.formats import tiktoken as tiktoken_format
from bytemill.vocabulary import Vocabulary
from tests.support.vocabularies import PIECES, generated_text, tiktoken_encoding, train

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

BYTES = {bytes([i]): i for i in range(256)}
SPECIAL = ("<|end|>", "[x] (.*)", "<s p>", "€")


@functools.cache
def trained(pattern: str) -> Tokenizer:
    return train([generated_text(1), "a" * 200, "ab" * 300], 700, SPECIAL, pattern)


# tiktoken files and encodings in


def test_tiktoken_file_needs_a_pattern(tmp_path):
    path = tmp_path / "mine.tiktoken"
    trained("gpt2").save(tmp_path / "saved")
    (saved,) = (tmp_path / "saved").glob("*.tiktoken")
    path.write_bytes(saved.read_bytes())
    with pytest.raises(ValueError, match=r"mine\.tiktoken.*pattern="):
        Tokenizer.from_tiktoken(path)
    assert Tokenizer.from_tiktoken(str(path), pattern="o200k").special_tokens == {}
    # A published name brings pattern and special tokens with it, unless they are given.
    path = path.rename(tmp_path / "cl100k_base.tiktoken")
    known = Tokenizer.from_tiktoken(path)
    assert patterns.name_of(known.pat_str) == "cl100k"
    assert known.special_tokens["<|endofprompt|>"] == 100276
    own = Tokenizer.from_tiktoken(path, special_tokens={}, pattern=r"\S+")
    assert (own.special_tokens, own.pat_str) == ({}, r"\S+")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"YQ==\n", "line 1"),
        (b"YQ== 1\nYg== x\n", "line 2"),
        (b"YQ== 1\n\xff\xff 2\n", "line 2"),
        (b"YQ== 1\nYQ== 2\n", "line 2.*twice"),
        (b"YQ== 1 2\n", "line 1"),
        (b"YQ= 1\n", "line 1"),
        (b"YQ== 97\n", "255 single bytes are missing"),
    ],
)
def test_damaged_tiktoken_file(tmp_path, content, message):
    path = tmp_path / "bad.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.tiktoken.*{message}"):
        Tokenizer.from_tiktoken(path, pattern="gpt2")


def test_the_fast_way_of_reading_is_the_slow_one(tmp_path):
    tokenizer = trained("cl100k")
    ranks, special = tokenizer.mergeable_ranks, {"<a>": 70_000, "<b>": 70_001}
    data = tiktoken_format.ranks_to_bytes(ranks)
    path = tmp_path / "some.tiktoken"
    # A blank line is not written as usual.
    for written in (data, data + b"\n"):
        path.write_bytes(written)
        assert (_core.Ranks.read(written) is None) == (written != data)
        found = Tokenizer.from_tiktoken(path, pattern="cl100k", special_tokens=special)
        expected = Tokenizer.from_ranks(ranks, special, pattern="cl100k")
        assert found.n_vocab == expected.n_vocab
        assert found.fingerprint == expected.fingerprint
        text = generated_text(3) + "<b>"
        assert found.encode(text) == expected.encode(text)
        assert list(found.mergeable_ranks.items()) == list(ranks.items())
        assert (found.merges, found.vocab) == (expected.merges, expected.vocab)
        with pytest.raises(ValueError, match=r"some\.tiktoken.*id 300 of '<a>' is taken"):
            Tokenizer.from_tiktoken(path, pattern="gpt2", special_tokens={"<a>": 300})
        with pytest.raises(TypeError, match="id of '<a>' is 'x'"):
            Tokenizer.from_tiktoken(path, pattern="gpt2", special_tokens={"<a>": "x"})


def test_tiktokens_cache_is_read_without_it(tmp_path, monkeypatch):
    data = tiktoken_format.ranks_to_bytes(trained("cl100k").mergeable_ranks)
    address = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    file = tmp_path / hashlib.sha1(address.encode()).hexdigest()
    file.write_bytes(data)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    # Not the published file: tiktoken is asked, which would delete it here and fetch the other.
    asked = []
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: asked.append(name))
    with pytest.raises(TypeError, match="cl100k_base"):
        Tokenizer.from_tiktoken("cl100k_base")
    assert asked == ["cl100k_base"]
    sha256 = hashlib.sha256(data).hexdigest()
    monkeypatch.setitem(tiktoken_format._SHA256, "cl100k_base", sha256)
    found = Tokenizer.from_tiktoken("cl100k_base")
    assert (asked, found.name) == (["cl100k_base"], "cl100k_base")
    assert found.mergeable_ranks == trained("cl100k").mergeable_ranks
    assert found.special_tokens["<|endofprompt|>"] == 100276


def test_from_tiktoken_of_something_else(tmp_path):
    with pytest.raises(TypeError, match="source=3"):
        Tokenizer.from_tiktoken(3)
    with pytest.raises(ValueError, match="no_such"):
        Tokenizer.from_tiktoken("no_such_encoding")
    with pytest.raises(FileNotFoundError, match="missing"):
        Tokenizer.from_tiktoken(tmp_path / "missing.tiktoken", pattern="gpt2")


def test_published_special_tokens_are_tiktokens():
    from tiktoken_ext import openai_public

    for name, (pattern, special) in tiktoken_format._PUBLISHED.items():
        if not name.startswith(("r50k", "p50k")):
            encoding = tiktoken_encoding(name)
            assert encoding.special_tokens == special
            assert patterns.name_of(encoding.pat_str) == pattern
        assert hasattr(openai_public, name)


def test_special_tokens_of_one_id():
    tokenizer = tiktoken_encoding("o200k_harmony")
    encoding = tokenizer.to_tiktoken("test")
    text = "<|endofprompt|><|reserved_200018|>"
    assert tokenizer.encode(text) == encoding.encode(text, allowed_special="all") == [200018] * 2
    assert tokenizer.decode([200018]) == "<|endofprompt|>"


# GPT-2's files in


def write_files(tokenizer: Tokenizer, folder, version: bool = True) -> tuple[str, str]:
    vocab = {byte_alphabet.to_text(t): i for t, i in tokenizer.mergeable_ranks.items()}
    vocab.update(tokenizer.special_tokens)
    lines = ["#version: 0.2"] * version
    lines += [f"{byte_alphabet.to_text(a)} {byte_alphabet.to_text(b)}" for a, b in tokenizer.merges]
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / "vocab.json"), str(folder / "merges.txt")


@pytest.mark.parametrize("version", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_from_files(tmp_path, version, listed):
    tokenizer = trained("gpt2")
    files = write_files(tokenizer, tmp_path, version)
    special = list(SPECIAL) if listed else None
    again = Tokenizer.from_files(*files, special)
    assert again.fingerprint == tokenizer.fingerprint


def test_gpt2_from_its_files(tmp_path):
    gpt2 = tiktoken_encoding("gpt2")
    files = write_files(gpt2, tmp_path)
    text = generated_text(6) + "<|endoftext|>"
    assert Tokenizer.from_files(*files).fingerprint == gpt2.fingerprint
    tokenizer = Tokenizer.from_files(*files, ["<|endoftext|>", "<|endoftext|><|endoftext|>"])
    assert tokenizer.encode(text) == gpt2.encode(text)
    assert tokenizer.encode("<|endoftext|>" * 3) == [50257, 50256]
    assert tokenizer.vocab[50257] == b"<|endoftext|><|endoftext|>"
    # Their pattern is not in the files.
    with_cl100k = Tokenizer.from_files(*files, pattern="cl100k")
    assert with_cl100k.pat_str == patterns.canonical("cl100k")


def test_from_files_appends_unknown_special_tokens(tmp_path):
    files = write_files(train([generated_text()], 300), tmp_path)
    tokenizer = Tokenizer.from_files(*files, ["<b>", "<a>"])
    assert tokenizer.special_tokens == {"<b>": 300, "<a>": 301}
    for special, error in (("<a>", TypeError), ([b"<a>"], TypeError), ([""], ValueError)):
        with pytest.raises(error, match="special_tokens"):
            Tokenizer.from_files(*files, special)
    with pytest.raises(ValueError, match=r"'<a>'.*given twice"):
        Tokenizer.from_files(*files, ["<a>", "<a>"])


def small_files(tmp_path, vocab_changes: dict, merges: list[str]) -> tuple[str, str]:
    vocab = {byte_alphabet.to_text(token): id_ for token, id_ in BYTES.items()}
    vocab.update({"ab": 256, "abc": 257, "Ġd": 258})
    vocab.update(vocab_changes)
    vocab = {text: id_ for text, id_ in vocab.items() if id_ != "absent"}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
    return str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")


GOOD = ["#version: 0.2", "a b", "ab c", "Ġ d"]


@pytest.mark.parametrize(
    ("changes", "merges", "message"),
    [
        ({}, ["ab c", "a b", "Ġ d"], r"merges.txt: ids.*'a' \+ 'b' comes after 'ab' \+ 'c'"),
        ({"ab": 258, "Ġd": 256}, GOOD, r"ids.*'Ġ' \+ 'd' comes after"),
        ({"abc": "absent"}, GOOD, r"'ab' \+ 'c' needs the token 'abc'"),
        ({}, [*GOOD, "x yz"], r"'x' \+ 'yz' needs the token 'yz'"),
        ({}, ["a b", "a bc", "Ġ d"], "'a' . 'bc' needs the token 'bc'"),
        ({}, ["a b", "Ġ d"], "'abc' .id 257. is not among the results"),
        ({"zzz": 300}, GOOD, "'zzz' .id 300. is not a single byte and no merge"),
        ({"a": "absent"}, GOOD, "vocab.json: 1 single bytes are missing.*0x61"),
        ({"ab": 257}, GOOD, "vocab.json.*both have id 257"),
        ({"ab": -1}, GOOD, "vocab.json: the id of 'ab' is -1"),
        ({"ab": "7"}, GOOD, "vocab.json: the id of 'ab' is '7'"),
        ({"日本": 300}, GOOD, "'日本'.*byte alphabet.*special token"),
        ({}, ["a b", "ab c d", "Ġ d"], "merges.txt, line 2: 'ab c d'"),
        ({}, ["a b", "abc", "Ġ d"], "line 2: 'abc'"),
        ({}, ["a b", "日 本"], "line 2: '日 本'"),
    ],
)
def test_from_files_that_do_not_fit(tmp_path, changes, merges, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_files(*small_files(tmp_path, changes, merges), [])


def test_from_files_that_are_no_such_files(tmp_path):
    vocab, merges = small_files(tmp_path, {}, GOOD)
    assert Tokenizer.from_files(vocab, merges).encode("abc d") == [257, 258]
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_files(tmp_path / "missing", merges)
    for content in (b"{", b"[]", b"\xff"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ValueError, match="bad: "):
            Tokenizer.from_files(tmp_path / "bad", merges)
    with pytest.raises(ValueError, match="bad: not valid UTF-8"):
        Tokenizer.from_files(vocab, tmp_path / "bad")


# tokenizer.json in


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
        ("pre_tokenizer", None, "pre_tokenizer is .*only plain byte-level"),
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
    tokenizer = trained("o200k")
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
