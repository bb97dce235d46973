"""What `bytemill tok-train` takes from its flags and from counts that were kept."""

import re
import zlib

import pytest

from bytemill import Counts, Tokenizer
from bytemill.chat import SPECIAL_TOKENS, Renderer
from bytemill.cli.console.messages import in_flags
from tests.support import naive
from tests.support.programs import SPECIAL, TEXT, is_one_line


def test_counts_are_saved_and_used_again(corpus, tmp_path, train):
    counts = tmp_path / "c.counts"
    options = ["--special", SPECIAL, "--counts", counts]
    first = train("--input", corpus, "--vocab-size", 280, *options, "--out", tmp_path / "a")
    assert first[0] == 0, first[2]
    assert "c.counts" in first[1]
    corpus.unlink()
    second = train("--vocab-size", 300, *options, "--out", tmp_path / "b")
    assert second[0] == 0, second[2]
    large, small = Tokenizer.load(tmp_path / "b"), Tokenizer.load(tmp_path / "a")
    assert large.merges[: len(small.merges)] == small.merges
    for *other, leave in (
        ("--pattern", "cl100k", "--pattern"),
        ("--special", "<|x|>", "--special"),
        ("--chat", "--chat and --special"),
    ):
        done = train("--vocab-size", 300, *options, *other, "--out", tmp_path / "c")
        assert done[0] == 2
        is_one_line(done[2], counts, other[-1], f"leave out {leave}, ", "or name another file")
    assert not (tmp_path / "c").exists()


def test_counts_say_how_they_were_made(corpus, tmp_path, train):
    counts = ["--counts", tmp_path / "c.counts", "--vocab-size", 300]
    made = ["--input", corpus, "--pattern", "o200k", "--special", SPECIAL]
    assert train(*made, *counts, "--out", tmp_path / "a")[0] == 0
    status, out, err = train(*counts, "--out", tmp_path / "b")
    assert (status, err) == (0, "")
    assert Tokenizer.load(tmp_path / "b") == Tokenizer.load(tmp_path / "a")
    text = r"^counts +read from \S+: of [\d.]+ kB; [\d,]+ pretokens, [\d,]+ distinct\n"
    assert re.search(text + r"merged +43 merges in \d+\.\d\d s$", out, re.MULTILINE)


def test_counts_of_spans_are_not_taken_for_pretokens(corpus, tmp_path, train):
    counts = ["--counts", tmp_path / "c.counts", "--vocab-size", 270]
    spans = ["--superwords-from", 262]
    assert train("--input", corpus, *counts, *spans, "--out", tmp_path / "a")[0] == 0
    done = train(*counts, "--out", tmp_path / "b")
    assert done[0] == 2
    is_one_line(done[2], "it was made with --superwords-from; give that again, or name another")
    assert train(*counts, *spans, "--out", tmp_path / "b")[0] == 0
    assert Tokenizer.load(tmp_path / "b") == Tokenizer.load(tmp_path / "a")


def test_chat_gives_the_special_tokens_of_conversations(corpus, tmp_path, train):
    more = ["--special", "<|bos|>", "<|x|>"]
    done = train("--input", corpus, "--vocab-size", 300, "--chat", *more, "--out", tmp_path / "t")
    assert done[0] == 0, done[2]
    special = Tokenizer.load(tmp_path / "t").special_tokens
    assert list(special) == [*SPECIAL_TOKENS, "<|x|>"]
    assert list(special.values()) == list(range(290, 300))


def test_what_a_tokenizer_lacks_for_conversations_is_told_with_the_flag():
    with pytest.raises(ValueError, match="no special token") as told:
        Renderer(Tokenizer.train([TEXT], 260))
    assert "train one with tok-train --chat, and a model with it" in in_flags(str(told.value))


def test_counts_remember_what_was_held_out(corpus, tmp_path, train):
    counts = tmp_path / "c.counts"
    options = ["--special", SPECIAL, "--input", corpus, "--counts", counts, "--held-out"]
    first = train(*options, 0.1, "--vocab-size", 300, "--out", tmp_path / "a")
    assert first[0] == 0, first[2]
    kept = [text for text in TEXT.split(SPECIAL) if zlib.crc32(text.encode()) >= 0.1 * 2**32]
    loaded = Counts.load(counts)
    assert (dict(loaded.items()), loaded.held_out) == (naive.count(kept), 0.1)
    # The same documents again, of which none was counted, with another size.
    again = train(*options, 0.1, "--vocab-size", 300, "--out", tmp_path / "b")
    assert again[0] == 0, again[2]
    line = r"^compression .*$"
    told = [re.search(line, done[1], re.MULTILINE)[0] for done in (first, again)]
    assert told[0] == told[1] and told[0].endswith("held out")
    larger = train(*options, 0.1, "--vocab-size", 310, "--out", tmp_path / "c")
    assert larger[0] == 0 and Tokenizer.load(tmp_path / "c").n_vocab == 310
    # Of fewer none was counted either; of more some were.
    fewer = train(*options, 0.05, "--vocab-size", 300, "--out", tmp_path / "d")
    assert fewer[0] == 0
    n = [int(re.search(r"\(([\d,]+) documents, .*held out", done[1])[1]) for done in (again, fewer)]
    assert n == [
        2000 - len(kept),
        sum(zlib.crc32(t.encode()) < 0.05 * 2**32 for t in TEXT.split(SPECIAL)),
    ]
    more = train(*options, 0.2, "--vocab-size", 300, "--out", tmp_path / "e")
    assert more[0] == 2
    is_one_line(more[2][more[2].index("error: ") :], "--held-out 0.2", "with 0.1 of the documents")
    without = [word for word in options if word not in ("--input", corpus)]
    nothing = train(*without, 0.1, "--vocab-size", 300, "--out", tmp_path / "e")
    assert nothing[0] == 2
    is_one_line(nothing[2], "--held-out 0.1", "name the --input")
    assert not (tmp_path / "e").exists()


def test_counts_of_all_documents_hold_nothing_out(corpus, tmp_path, train):
    options = ["--input", corpus, "--counts", tmp_path / "c.counts", "--vocab-size", 300]
    assert train(*options, "--out", tmp_path / "a")[0] == 0
    done = train(*options, "--held-out", 0.1, "--out", tmp_path / "b")
    assert done[0] == 2
    is_one_line(done[2][done[2].index("error: ") :], "with no documents held out")
