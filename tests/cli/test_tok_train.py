"""`bytemill tok-train`, run as a user runs it."""

import gzip
import json
import os
import re
import subprocess

import pytest

from bytemill import Tokenizer, train_bpe
from tests.support.programs import (
    ROOT,
    SPECIAL,
    TEXT,
    command,
    interrupted,
    is_one_line,
    run,
)


def test_trains_saves_and_tells(corpus, tmp_path, train):
    out = tmp_path / "new" / "tokenizer"
    done = train(
        "--input", corpus, "--vocab-size", 300, "--special", SPECIAL, "--out", out, "--threads", 2
    )  # fmt: skip
    assert done[0] == 0, done[2]
    tokenizer = Tokenizer.load(out)
    vocab, merges = train_bpe(corpus, 300, [SPECIAL])
    assert (tokenizer.vocab, tokenizer.merges) == (vocab, merges)
    assert tokenizer.special_tokens == {SPECIAL: 299}
    names = re.findall(r"^(\w[\w ]*?)  ", done[1], flags=re.MULTILINE)
    expected = ["counted", "merged", "vocabulary", "compression", "longest tokens", "fingerprint"]
    assert [name for name in names if name != "peak memory"] == [*expected, "written"]
    for figure in (
        r"counted .* kB in [\d.]+ s, [\d,]+ MB/s; [\d,]+ pretokens, [\d,]+ distinct",
        r"merged .* 43 merges",
        r"compression +\d\.\d{3} bytes per token \(2,000 documents, .*of the text trained on",
        f"fingerprint +{tokenizer.fingerprint}",
    ):
        assert re.search(figure, done[1]), done[1]
    for path in out.iterdir():
        assert path.name in done[1]


def test_held_out_files_are_not_trained_on(corpus, tmp_path, train):
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("qqqq " * 1000)
    done = train(
        "--input", tmp_path, "--held-out", held_out, "--special", SPECIAL, "--vocab-size", 300,
        "--out", tmp_path / "t",
    )  # fmt: skip
    assert done[0] == 0, done[2]
    assert re.search(r"compression .*\(1 document, 5\.0 kB\), held out", done[1])
    assert Tokenizer.load(tmp_path / "t").merges == train_bpe(corpus, 300, [SPECIAL])[1]


def test_a_fraction_of_the_documents_is_held_out(corpus, tmp_path, train):
    options = ["--input", corpus, "--special", SPECIAL, "--vocab-size", 300, "--held-out", 0.1]
    counted = []
    for out in ("a", "b"):
        done = train(*options, "--out", tmp_path / out)
        assert done[0] == 0, done[2]
        n_documents = int(re.search(r"\(([\d,]+) documents, .*held out", done[1])[1])
        assert 100 < n_documents < 300
        counted.append((n_documents, Tokenizer.load(tmp_path / out).fingerprint))
    assert counted[0] == counted[1]


def test_held_out_text_on_stdin(corpus, tmp_path):
    options = [
        "--input",
        corpus,
        "--special",
        SPECIAL,
        "--vocab-size",
        300,
        "--out",
        tmp_path / "t",
    ]
    done = run("tok-train", *options, "--held-out", "-", input="qqqq " * 1000)
    assert done.returncode == 0, done.stderr
    assert re.search(r"compression .*\(1 document, 5\.0 kB\), held out", done.stdout)
    assert Tokenizer.load(tmp_path / "t").merges == train_bpe(corpus, 300, [SPECIAL])[1]


def test_bad_text_on_stdin_is_called_stdin(tmp_path):
    out = tmp_path / "t"
    done = run(
        "tok-train", "--input", "-", "--vocab-size", 300, "--out", out, input=b"a\xff", text=False
    )
    assert done.returncode == 2
    is_one_line(done.stderr.decode(), "error: stdin: invalid UTF-8 at byte 1")
    assert not out.exists()


@pytest.mark.parametrize("content", ["", SPECIAL * 3])
def test_no_text_is_an_error_and_leaves_nothing(content, tmp_path, train):
    empty = tmp_path / "empty.txt"
    empty.write_text(content)
    options = ["--input", empty, "--special", SPECIAL, "--out", tmp_path / "t", "--counts"]
    status, out, err = train(*options, tmp_path / "c.counts", "--vocab-size", 300)
    assert (status, out) == (2, "")
    is_one_line(err, f"--input {empty}: there is no text to train on")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]
    # The bytes alone need no text.
    assert train(*options, tmp_path / "c.counts", "--vocab-size", 257)[0] == 0
    assert Tokenizer.load(tmp_path / "t").n_vocab == 257


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_two_programs_that_train_to_one_folder(corpus, tmp_path):
    pipe, out = tmp_path / "pipe.txt", tmp_path / "t"
    os.mkfifo(pipe)
    options = ["--vocab-size", 300, "--special", SPECIAL, "--out", out]
    with subprocess.Popen(
        command("tok-train", "--input", pipe, *options), cwd=ROOT, stdout=subprocess.DEVNULL
    ) as first:
        with pipe.open("w") as writer:  # opened when the first one reads: it has the folder then
            writer.write(TEXT)
            second = run("tok-train", "--input", corpus, *options, "--overwrite")
            assert second.returncode == 2
            told = (
                f"{out}: another process is making a tokenizer in this folder, process {first.pid};"
            )
            is_one_line(second.stderr, told)
        assert first.wait(timeout=300) == 0
    assert Tokenizer.load(out).merges == train_bpe(corpus, 300, [SPECIAL])[1]
    assert len(list(out.iterdir())) == 2
    killed = subprocess.Popen(
        command("tok-train", "--input", pipe, *options, "--overwrite"), cwd=ROOT
    )
    with pipe.open("w"):
        killed.kill()
        killed.wait()
    assert run("tok-train", "--input", corpus, *options, "--overwrite").returncode == 0
    assert len(list(out.iterdir())) == 2


def test_all_options(tmp_path, train):
    records = [json.dumps({"body": "a é \ud83d b" * 50}) for _ in range(50)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(records).encode() + b'\n{"body": "\xff"}'))
    done = train(
        "--input", path, tmp_path / "*.gz", "--input", path, "--vocab-size", 263, "--pattern",
        r"\S+|\s+", "--special", "<|a|>", "<|b|>", "--special", "<|c|>", "--max-chars", 5000,
        "--doc-cap", 200, "--min-frequency", 2, "--max-token-length", 4, "--tie-break", "lowest_id",
        "--threads", 1, "--text-column", "body", "--errors", "replace", "--out", tmp_path / "t",
    )  # fmt: skip
    assert done[0] == 0, done[2]
    tokenizer = Tokenizer.load(tmp_path / "t")
    assert tokenizer.pat_str == r"\S+|\s+"
    assert list(tokenizer.special_tokens) == ["<|a|>", "<|b|>", "<|c|>"]
    assert max(map(len, tokenizer.mergeable_ranks)) <= 4


def test_superwords(corpus, tmp_path, train):
    options = ("--input", corpus, "--superwords-from", 262, "--out", tmp_path / "t")
    done = train(*options, "--vocab-size", 270)
    assert done[0] == 0, done[2]
    assert " spans, " in done[1]
    tokens = list(Tokenizer.load(tmp_path / "t").mergeable_ranks)
    assert not any(b" " in token.strip() for token in tokens[:262])
    assert any(b" " in token.strip() for token in tokens[262:])
    done = train(*options, "--vocab-size", 261, "--overwrite")
    assert done[0] == 2
    is_one_line(done[2], "--superwords-from 262", "261")
    done = train(*options, "--vocab-size", 280, "--overwrite", "--extend", tmp_path / "t")
    assert done[0] == 2
    is_one_line(done[2], "--superwords-from 262", "--extend")


def test_too_little_text_is_a_warning(corpus, tmp_path, train):
    done = train("--input", corpus, "--vocab-size", 50_000, "--out", tmp_path / "t")
    assert done[0] == 0
    is_one_line(done[2], "warning: ", "instead of --vocab-size 50000")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--vocab-size", 200], ["--vocab-size 200", "256"]),
        (["--special", ""], ["--special ''"]),
        (["--pattern", "("], ["("]),
        (["--pattern", "gpt9"], ["gpt9", "cl100k"]),
        (["--threads", 0], ["--threads 0"]),
        (["--input", "no/such/file.txt"], ["no/such/file.txt", "No such file"]),
        (["--input", "no/such/*.txt"], ["no/such/*.txt", "no file matches"]),
        (["--held-out", "no/such/file.txt"], ["no/such/file.txt"]),
        (["--held-out", "1.5"], ["1.5", "between 0 and 1"]),
        (["--out", __file__], [__file__, "not a folder"]),
        (["--out", ""], ["--out ''", "empty"]),
        (["--errors", "strikt"], ["--errors strikt", "did you mean strict?"]),
        (["--voacb-size", 300], ["--voacb-size", "did you mean --vocab-size?"]),
        (["--format", "jsonl"], ["--format jsonl", "add -"]),
        (["--counts", __file__], [__file__]),
        (["--pattern", "\udcff"], [r"--pattern '\udcff'", "surrogate"]),
        (["--doc-cap", 2**63], [f"--doc-cap {2**63}: it must be below 2**63\n"]),
        (["--held-out", "-", "--input", "-"], ["stdin can be read once"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options, words, corpus, tmp_path, train):
    out = tmp_path / "t"
    done = train("--input", corpus, "--vocab-size", 300, "--out", out, *options)
    assert done[0] == 2
    assert done[1] == ""
    # A note that counts are used instead of the input may come before.
    is_one_line(done[2][done[2].index("error: ") :], *words)
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_bad_text_is_one_line_and_leaves_nothing(tmp_path, train):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"good \xff")
    counts = tmp_path / "c.counts"
    done = train("--input", bad, "--vocab-size", 300, "--out", tmp_path / "t", "--counts", counts)
    assert done[0] == 2
    is_one_line(done[2], bad, "invalid UTF-8 at byte 5")
    good = tmp_path / "good.txt"
    good.write_text("good")
    done = train("--input", good, "--held-out", bad, "--vocab-size", 257, "--out", tmp_path / "t")
    assert done[0] == 2
    is_one_line(done[2], bad, "invalid UTF-8 at byte 5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.txt", "good.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_leaves_nothing(tmp_path):
    pipe = tmp_path / "pipe.txt"
    words = command(
        "tok-train", "--input", pipe, "--vocab-size", 300, "--out", tmp_path / "t", "--counts",
        tmp_path / "c.counts",
    )  # fmt: skip
    # That is more than a pipe holds: it reads.
    status, out, err = interrupted(words, pipe, lambda n: n == 20)
    assert (status, out) == (130, ""), err
    is_one_line(err, "interrupted: no tokenizer was written")
    assert [p.name for p in tmp_path.iterdir()] == ["pipe.txt"]


def test_a_tokenizer_is_replaced_only_if_told(corpus, tmp_path, train):
    options = ["--input", corpus, "--special", SPECIAL, "--out", tmp_path / "t"]
    assert train(*options, "--vocab-size", 280)[0] == 0
    (tmp_path / "t" / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "t").iterdir()}
    status, out, err = train(*options, "--vocab-size", 300)
    assert (status, out) == (2, "")
    is_one_line(err, tmp_path / "t", "holds a tokenizer already", "--overwrite")
    assert {path.name: path.read_bytes() for path in (tmp_path / "t").iterdir()} == before
    status, out, _ = train(*options, "--vocab-size", 300, "--overwrite")
    assert status == 0
    assert Tokenizer.load(tmp_path / "t").n_vocab == 300
    # The list of what was written is that, and not all that is there.
    assert "notes.txt" not in out
    assert (tmp_path / "t" / "notes.txt").read_text() == "mine"
    assert len(list((tmp_path / "t").iterdir())) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    status, _, err = train("--input", corpus, "--vocab-size", 300, "--out", tmp_path / "other")
    assert status == 2
    is_one_line(err, "something else")


@pytest.mark.parametrize("form", ["text", "text.gz", "jsonl", "jsonl.gz"])
def test_text_on_stdin(form, tmp_path):
    data = TEXT.encode()
    if form.startswith("jsonl"):
        data = b"".join(json.dumps({"text": t}).encode() + b"\n" for t in TEXT.split(SPECIAL))
    data = gzip.compress(data) if form.endswith(".gz") else data
    options = ["--format", form, "--special", SPECIAL, "--vocab-size", 300, "--out", tmp_path / "t"]
    done = run("tok-train", "--input", "-", *options, input=data, text=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "c.txt").write_text(TEXT)
    merges = train_bpe(tmp_path / "c.txt", 300, [SPECIAL])[1]
    assert Tokenizer.load(tmp_path / "t").merges == merges
    assert b"written" in done.stdout


def test_parquet_on_stdin_and_what_is_wrong_with_it(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": TEXT.split(SPECIAL)}), tmp_path / "c.parquet")
    options = ["--format", "parquet", "--vocab-size", 300, "--out", tmp_path / "t"]
    done = run(
        "tok-train", "--input", "-", *options,
        input=(tmp_path / "c.parquet").read_bytes(), text=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Tokenizer.load(tmp_path / "t").n_vocab == 300
    done = run("tok-train", "--input", "-", *options, "--overwrite", input="no parquet")
    assert done.returncode == 2
    is_one_line(done.stderr, "error: stdin: not readable as parquet")
