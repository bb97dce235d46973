"""`bytemill tok-train --extend` and `bytemill tok-prune`, run as a user runs them."""

import re
from functools import partial

import pytest

from bytemill import Tokenizer
from bytemill.chat import SPECIAL_TOKENS, with_special_tokens
from tests.support.families import document
from tests.support.programs import SPECIAL, TEXT, call, is_one_line

OTHER = "a newer, wider text with other words, which other merges suit: otherwise, whichever " * 20


@pytest.fixture
def places(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.txt").write_text(OTHER, encoding="utf-8")
    Tokenizer.train([TEXT], 290, [SPECIAL]).save(tmp_path / "small")
    return tmp_path, partial(call, capsys)


def test_extend(places):
    folder, run = places
    small = Tokenizer.load(folder / "small")
    options = ["--extend", folder / "small", "--input", folder / "b.txt", "--vocab-size", 320]
    status, out, err = run("tok-train", *options, "--out", folder / "large")
    assert (status, err) == (0, "")
    large = Tokenizer.load(folder / "large")
    assert large == small.extended([OTHER], 320)
    assert large.special_tokens == small.special_tokens
    assert "30 merges" in out and "320 tokens" in out
    # Counts that were kept serve as well, and rules and limits are handed on.
    status, _, err = run(
        "tok-train", *options, "--counts", folder / "c", "--out", folder / "x",
        "--tie-break", "lowest_id", "--min-frequency", 21, "--max-token-length", 4,
    )  # fmt: skip
    assert status == 0, err
    status, _, err = run(
        "tok-train", *options[:2], "--counts", folder / "c", "--vocab-size", 320, "--out",
        folder / "y", "--tie-break", "lowest_id", "--min-frequency", 21, "--max-token-length", 4,
    )  # fmt: skip
    assert status == 0, err
    limits = {"tie_break": "lowest_id", "min_frequency": 21, "max_token_length": 4}
    with pytest.warns(UserWarning, match="instead of"):
        expected = small.extended([OTHER], 320, **limits)
    assert expected != large
    assert Tokenizer.load(folder / "x") == Tokenizer.load(folder / "y") == expected


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--vocab-size", 289], "--vocab-size 289: the vocabulary has 290 tokens already"),
        (["--vocab-size", 300, "--pattern", "o200k"], "leave out --pattern"),
        (["--vocab-size", 300, "--special", "x"], "leave out --special"),
    ],
)
def test_what_cannot_be_extended(places, more, told):
    folder, run = places
    options = ["--extend", folder / "small", "--input", folder / "b.txt", "--out", folder / "new"]
    status, out, err = run("tok-train", *options, *more)
    assert (status, out) == (2, "")
    is_one_line(err, "error: ", told)
    assert not (folder / "new").exists()


def test_extended_for_conversations(places):
    folder, run = places
    small = Tokenizer.load(folder / "small")
    options = ["--extend", folder / "small", "--input", folder / "b.txt", "--chat"]
    status, _, err = run("tok-train", *options, "--vocab-size", 320, "--out", folder / "new")
    assert (status, err) == (0, "")
    ours = Tokenizer.load(folder / "new")
    assert ours == with_special_tokens(small).extended([OTHER], 320)
    assert list(ours.special_tokens) == [SPECIAL, *SPECIAL_TOKENS]
    # One more would be one too many.
    status, _, err = run("tok-train", *options, "--vocab-size", 298, "--out", folder / "x")
    assert status == 2
    is_one_line(err, "--vocab-size 298: the vocabulary has 299 tokens already")


def test_what_keeps_a_published_one_from_being_extended(places):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    folder, run = places
    (folder / "tokenizer.json").write_text(document("qwen-2"), encoding="utf-8")
    options = ["--extend", folder, "--input", folder / "b.txt", "--vocab-size", 9999]
    status, _, err = run("tok-train", *options, "--out", folder / "new")
    assert status == 2
    is_one_line(err, "cannot be extended; this one says a normalizer (NFC)")


def test_prune(places):
    folder, run = places
    small = Tokenizer.load(folder / "small")
    options = [folder / "small", "--input", folder / "b.txt", "--out", folder / "new"]
    status, out, err = run("tok-prune", *options)
    assert (status, err) == (0, "")
    ours = Tokenizer.load(folder / "new")
    assert ours == small.pruned([OTHER])
    assert 257 < len(ours) < 290
    assert f"{len(ours)} of 290 tokens; {290 - len(ours)} went" in out
    written = out[out.index("written") :]
    assert sorted(path.name for path in (folder / "new").iterdir()) == sorted(
        name.partition(" ")[0] for name in re.findall(r"new.(.*)", written)
    )
    status, out, err = run("tok-prune", *options)
    is_one_line(err, "error: ", "add --overwrite")
    assert status == 2
    status, _, err = run("tok-prune", *options, "--overwrite", "--min-count", 30)
    assert status == 0, err
    assert Tokenizer.load(folder / "new") == small.pruned([OTHER], min_count=30)
    assert len(Tokenizer.load(folder / "new")) < len(ours)


def test_what_cannot_be_pruned(places):
    folder, run = places
    options = [folder / "small", "--input", folder / "b.txt", "--out", folder / "new"]
    status, _, err = run("tok-prune", *options, "--min-count", 0)
    is_one_line(err, "error: ", "--min-count 0: it must be at least 1")
    (folder / "b.txt").write_bytes(b"ab\xff")
    again, _, err = run("tok-prune", *options)
    is_one_line(err, "error: ", "b.txt")
    assert (status, again) == (2, 2)
    assert not (folder / "new").exists()
