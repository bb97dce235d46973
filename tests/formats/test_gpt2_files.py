"""GPT-2's vocab.json and merges.txt, out and in: the same ids, by us and by others."""

import functools
import json
import random
import sys
import warnings
from pathlib import Path

import pytest

from bytemill import Tokenizer, patterns
from bytemill.formats import byte_alphabet
from tests.support.vocabularies import (
    CUSTOM,
    NAMED,
    PIECES,
    generated_text,
    small_vocabulary,
    tiktoken_encoding,
    train,
)

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

BYTES = {bytes([i]): i for i in range(256)}
SPECIAL = ("<|endoftext|>", "[x] (.*)", "<é>", "€")

trained = functools.partial(small_vocabulary, special_tokens=SPECIAL)


def written(tokenizer: Tokenizer, folder: Path) -> tuple[Path, Path]:
    paths = folder / "vocab.json", folder / "merges.txt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* do not say the split pattern")
        tokenizer.to_files(*paths)
    return paths


def random_texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices([*PIECES, *SPECIAL], k=40)) for _ in range(200)]


# Out


@pytest.mark.parametrize("pattern", NAMED + CUSTOM)
@pytest.mark.parametrize("listed", [True, False])
def test_round_trip(pattern, listed, tmp_path):
    tokenizer = trained(pattern)
    files = written(tokenizer, tmp_path)
    special = list(SPECIAL) if listed else None
    again = Tokenizer.from_files(*files, special, pattern=tokenizer.pat_str)
    assert again == tokenizer
    assert list(again.special_tokens.items()) == list(tokenizer.special_tokens.items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]


def test_a_pattern_that_readers_do_not_expect_is_told(tmp_path):
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained("gpt2").to_files(*paths)
    for pattern in ("o200k", CUSTOM[0]):
        with pytest.warns(UserWarning, match="do not say the split pattern") as told:
            trained(pattern).to_files(*paths)
        assert f"pass pattern={pattern!r} to from_files" in str(told[0].message)
        assert told[0].filename == __file__


def test_tokenizers_reads_the_same(tmp_path):
    tokenizer = trained("gpt2")
    other = tokenizers.ByteLevelBPETokenizer(*map(str, written(tokenizer, tmp_path)))
    other.add_special_tokens([tokenizers.AddedToken(t, normalized=False) for t in SPECIAL])
    for text in random_texts(0):
        assert other.encode(text).ids == tokenizer.encode(text), text


def test_transformers_reads_the_same(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = trained("gpt2")
    vocab, merges = written(tokenizer, tmp_path)
    other = transformers.GPT2Tokenizer(str(vocab), str(merges))
    for text in random_texts(1):
        plain = "".join(text.split("<|endoftext|>"))
        for special in SPECIAL[1:]:  # they know GPT-2's alone
            plain = plain.replace(special, " ")
        text = f"{plain}<|endoftext|> {plain}"
        assert other(text)["input_ids"] == tokenizer.encode(text), text


def test_published_gpt2(tmp_path):
    gpt2 = tiktoken_encoding("gpt2")
    vocab, merges = written(gpt2, tmp_path)
    assert Tokenizer.from_files(vocab, merges) == gpt2
    lines = merges.read_text(encoding="utf-8").split("\n")
    # The release begins and ends so, with 50,000 merges between.
    assert lines[:3] == ["#version: 0.2", "Ġ t", "Ġ a"]
    assert lines[-1] == "" and len(lines) == 50_002


def test_ids_with_holes_and_in_any_order(tmp_path):
    rng = random.Random(3)
    base = train([generated_text(2)], 500)
    ids = rng.sample(range(256), 256) + [256 + 3 * i for i in range(len(base.vocab) - 256)]
    ranks = {token: ids[i] for i, token in base.vocab.items()}
    special = {"<|end|>": 2000, "<|pad|>": 1500, "< >": 1501}
    tokenizer = Tokenizer.from_ranks(ranks, special)
    assert Tokenizer.from_files(*written(tokenizer, tmp_path), list(special)) == tokenizer


def test_what_the_files_cannot_express_is_refused(tmp_path):
    unreached = Tokenizer.from_ranks({**BYTES, b"abcd": 256})
    with pytest.raises(ValueError, match=r"no merge makes the token b'abcd' \(id 256\)"):
        written(unreached, tmp_path)
    ambiguous = Tokenizer.from_ranks({**BYTES, b" t": 256}, {"Ġt": 257})
    with pytest.raises(ValueError, match=r"special token 'Ġt'.*b' t'.*rename"):
        written(ambiguous, tmp_path)
    # Their reader passes over every line that begins like the first.
    tokens = [b"#v", b"#ve", b"#ver", b"#vers", b"#versi", b"#versio", b"#version", b"#version:"]
    ranks = {**BYTES, **{token: 256 + i for i, token in enumerate(tokens)}}
    lost = Tokenizer.from_ranks(ranks, pattern=r"\S+|\s+")
    with pytest.raises(ValueError, match=r"tokenizers would give other ids.*#version:"):
        written(lost, tmp_path)
    with pytest.raises(ValueError, match=r"vocab\.json: the merges need another file"):
        trained("gpt2").to_files(tmp_path / "vocab.json", str(tmp_path / "vocab.json"))
    assert not list(tmp_path.iterdir())


def test_without_tokenizers_the_files_are_written_with_a_warning(tmp_path, monkeypatch):
    tokenizer = trained("cl100k")
    (tmp_path / "checked").mkdir()
    checked = written(tokenizer, tmp_path / "checked")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    with pytest.warns(
        UserWarning, match=r"merges\.txt has not been checked.*pip install"
    ) as warned:
        tokenizer.to_files(*paths)
    assert [w.filename for w in warned] == [__file__] * 2  # and one of the pattern
    for path, other in zip(paths, checked, strict=True):
        assert path.read_bytes() == other.read_bytes()


def test_an_existing_file_is_replaced_whole(tmp_path):
    written(trained("o200k"), tmp_path)
    vocab, _ = written(trained("gpt2"), tmp_path)
    assert len(json.loads(vocab.read_text(encoding="utf-8"))) == trained("gpt2").n_vocab
    with pytest.raises(OSError, match="missing"):
        trained("gpt2").to_files(tmp_path / "missing" / "vocab.json", tmp_path / "merges.txt")


# In


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
