"""GPT-2's vocab.json and merges.txt out: read back, by us and by others, with the same ids."""

import functools
import json
import random
import sys
from pathlib import Path

import pytest

from bytemill import Tokenizer
from tests.support.vocabularies import (
    CUSTOM,
    NAMED,
    PIECES,
    generated_text,
    tiktoken_encoding,
    train,
)

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

BYTES = {bytes([i]): i for i in range(256)}
SPECIAL = ("<|endoftext|>", "[x] (.*)", "<é>", "€")


@functools.cache
def trained(pattern: str) -> Tokenizer:
    return train([generated_text(1), "a" * 200, "ab" * 300], 700, SPECIAL, pattern)


def written(tokenizer: Tokenizer, folder: Path) -> tuple[Path, Path]:
    paths = folder / "vocab.json", folder / "merges.txt"
    tokenizer.to_files(*paths)
    return paths


def random_texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices([*PIECES, *SPECIAL], k=40)) for _ in range(200)]


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
    assert [w.filename for w in warned] == [__file__]
    for path, other in zip(paths, checked, strict=True):
        assert path.read_bytes() == other.read_bytes()


def test_an_existing_file_is_replaced_whole(tmp_path):
    written(trained("o200k"), tmp_path)
    vocab, _ = written(trained("gpt2"), tmp_path)
    assert len(json.loads(vocab.read_text(encoding="utf-8"))) == trained("gpt2").n_vocab
    with pytest.raises(OSError, match="missing"):
        trained("gpt2").to_files(tmp_path / "missing" / "vocab.json", tmp_path / "merges.txt")
