"""The programs, run as a user runs them."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from bytemill import Tokenizer, train_bpe
from tests.support.programs import ROOT, SPECIAL, TEXT, is_one_line, run


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("name", ["tok_train", "tok_encode", "demo"])
def test_help(name):
    done = run("--help", module=f"scripts.{name}")
    assert done.returncode == 0
    assert f"python -m scripts.{name}" in done.stdout
    assert done.stderr == ""


def test_trains_saves_and_tells(corpus, tmp_path):
    out = tmp_path / "new" / "tokenizer"
    done = run(
        "--input", corpus, "--vocab-size", 300, "--special", SPECIAL, "--out", out, "--threads", 2
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokenizer = Tokenizer.load(out)
    vocab, merges = train_bpe(corpus, 300, [SPECIAL])
    assert (tokenizer.vocab, tokenizer.merges) == (vocab, merges)
    assert tokenizer.special_tokens == {SPECIAL: 299}
    names = re.findall(r"^(\w[\w ]*?)  ", done.stdout, flags=re.MULTILINE)
    expected = ["counted", "merged", "vocabulary", "compression", "longest tokens", "fingerprint"]
    assert [name for name in names if name != "peak memory"] == [*expected, "written"]
    for figure in (
        r"counted .* kB in [\d.]+ s, [\d,]+ MB/s; [\d,]+ pretokens, [\d,]+ distinct",
        r"merged .* 43 merges",
        r"compression +\d\.\d{3} bytes per token \(2,000 documents, .*of the text trained on",
        f"fingerprint +{tokenizer.fingerprint}",
    ):
        assert re.search(figure, done.stdout), done.stdout
    for path in out.iterdir():
        assert path.name in done.stdout


def test_counts_are_saved_and_used_again(corpus, tmp_path):
    counts = tmp_path / "c.counts"
    options = ["--special", SPECIAL, "--counts", counts]
    first = run("--input", corpus, "--vocab-size", 280, *options, "--out", tmp_path / "a")
    assert first.returncode == 0, first.stderr
    assert "c.counts" in first.stdout
    corpus.unlink()
    second = run("--vocab-size", 300, *options, "--out", tmp_path / "b")
    assert second.returncode == 0, second.stderr
    large, small = Tokenizer.load(tmp_path / "b"), Tokenizer.load(tmp_path / "a")
    assert large.merges[: len(small.merges)] == small.merges
    for other, word in ((["--pattern", "cl100k"], "cl100k"), (["--special", "<|x|>"], "<|x|>")):
        done = run("--vocab-size", 300, *options, *other, "--out", tmp_path / "c")
        assert done.returncode == 2
        is_one_line(done.stderr, counts, word)
    assert not (tmp_path / "c").exists()


def test_held_out_files_are_not_trained_on(corpus, tmp_path):
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("qqqq " * 1000)
    done = run(
        "--input", tmp_path, "--held-out", held_out, "--special", SPECIAL, "--vocab-size", 300,
        "--out", tmp_path / "t",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"compression .*\(1 document, 5\.0 kB\), held out", done.stdout)
    assert Tokenizer.load(tmp_path / "t").merges == train_bpe(corpus, 300, [SPECIAL])[1]


def test_a_fraction_of_the_documents_is_held_out(corpus, tmp_path):
    options = ["--input", corpus, "--special", SPECIAL, "--vocab-size", 300, "--held-out", 0.1]
    counted = []
    for out in ("a", "b"):
        done = run(*options, "--out", tmp_path / out)
        assert done.returncode == 0, done.stderr
        n_documents = int(re.search(r"\(([\d,]+) documents, .*held out", done.stdout)[1])
        assert 100 < n_documents < 300
        counted.append((n_documents, Tokenizer.load(tmp_path / out).fingerprint))
    assert counted[0] == counted[1]


def test_all_options(tmp_path):
    records = [json.dumps({"body": "a é \ud83d b" * 50}) for _ in range(50)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(records).encode() + b'\n{"body": "\xff"}'))
    done = run(
        "--input", path, tmp_path / "*.gz", "--input", path, "--vocab-size", 262, "--pattern",
        r"\S+|\s+", "--special", "<|a|>", "--special", "<|b|>", "--max-chars", 5000, "--doc-cap",
        200, "--min-frequency", 2, "--max-token-length", 4, "--tie-break", "lowest_id", "--threads",
        1, "--text-column", "body", "--errors", "replace", "--out", tmp_path / "t",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokenizer = Tokenizer.load(tmp_path / "t")
    assert tokenizer.pat_str == r"\S+|\s+"
    assert list(tokenizer.special_tokens) == ["<|a|>", "<|b|>"]
    assert max(map(len, tokenizer.mergeable_ranks)) <= 4


def test_too_little_text_is_a_warning(corpus, tmp_path):
    done = run("--input", corpus, "--vocab-size", 50_000, "--out", tmp_path / "t")
    assert done.returncode == 0
    is_one_line(done.stderr, "warning: ", "50000")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--vocab-size", 200], ["vocab_size=200", "256"]),
        (["--special", ""], ["special_tokens[0]=''"]),
        (["--pattern", "("], ["("]),
        (["--pattern", "gpt9"], ["gpt9", "cl100k"]),
        (["--threads", 0], ["num_threads=0"]),
        (["--input", "no/such/file.txt"], ["no/such/file.txt", "No such file"]),
        (["--input", "no/such/*.txt"], ["no/such/*.txt", "no file matches"]),
        (["--held-out", "no/such/file.txt"], ["no/such/file.txt"]),
        (["--held-out", "1.5"], ["1.5", "between 0 and 1"]),
        (["--out", __file__], [__file__, "no folder"]),
        (["--counts", __file__], [__file__]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options, words, corpus, tmp_path):
    out = tmp_path / "t"
    done = run("--input", corpus, "--vocab-size", 300, "--out", out, *options)
    assert done.returncode == 2
    assert done.stdout == ""
    # A note that counts are used instead of the input may come before.
    is_one_line(done.stderr[done.stderr.index("error: ") :], *words)
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_bad_text_is_one_line_and_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"good \xff")
    counts = tmp_path / "c.counts"
    done = run("--input", bad, "--vocab-size", 300, "--out", tmp_path / "t", "--counts", counts)
    assert done.returncode == 2
    is_one_line(done.stderr, bad, "invalid UTF-8 at byte 5")
    good = tmp_path / "good.txt"
    good.write_text("good")
    done = run("--input", good, "--held-out", bad, "--vocab-size", 257, "--out", tmp_path / "t")
    assert done.returncode == 2
    is_one_line(done.stderr, bad, "invalid UTF-8 at byte 5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.txt", "good.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_leaves_nothing(tmp_path):
    # A pipe that never ends, so that the program is surely counting when the signal comes.
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "scripts.tok_train", "--input", pipe, "--vocab-size", "300",
               "--out", tmp_path / "t", "--counts", tmp_path / "c.counts"]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell may have set Ctrl-C to be ignored by what it runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with pipe.open("wb", buffering=0) as writer:
        for _ in range(20):
            writer.write(TEXT.encode())
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            for _ in range(1000):
                writer.write(TEXT.encode())
        except BrokenPipeError:
            pass
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    is_one_line(err, "interrupted")
    assert [p.name for p in tmp_path.iterdir()] == ["pipe.txt"]


def test_demo(tmp_path):
    pytest.importorskip("torch", reason="the demo trains a model")
    for _ in range(2):  # the second one replaces what the first one made
        done = run("--quick", "--out", tmp_path / "t", module="scripts.demo")
        assert done.returncode == 0, done.stderr
        assert "<|bos|>|" in done.stdout
        found = re.findall(r"^(.+?) +(\d\.\d{3})  ", done.stdout, re.MULTILINE)
        names = ["unigram model", "gzip -9", "bigram model", "this model"]
        assert [name for name, _ in found] == names
        assert all(0.5 < float(value) < 8 for _, value in found)
    tokenizer = Tokenizer.load(tmp_path / "t" / "tokenizer")
    assert tokenizer.special_tokens == {"<|bos|>": tokenizer.n_vocab - 1}
    made = {path.name for path in (tmp_path / "t" / "model").iterdir()}
    assert made >= {"checkpoints", "config.json", "loss.png", "metrics.jsonl", "tokenizer"}
    assert all(f"    {start}" in done.stdout for start in ("def", "class", "import"))


def test_demo_deletes_nothing_else(tmp_path):
    pytest.importorskip("torch", reason="the demo trains a model")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.txt").write_text("kept")
    done = run("--quick", "--out", tmp_path, module="scripts.demo")
    assert done.returncode == 2
    is_one_line(done.stderr, "is not a demo's", tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["precious.txt"]
    done = run("--quick", "--steps", 0, "--out", tmp_path / "new", module="scripts.demo")
    assert done.returncode == 2 and not (tmp_path / "new").exists()
    is_one_line(done.stderr, "--steps 0")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def progress(monkeypatch):
    from bytemill.cli import progress as module

    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    return module.Progress


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
def test_bar_on_a_terminal(progress, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with progress("count", "MB", stream) as bar:
        for done in (0, 50_000_000, 99_000_000, 100_000_000):
            bar.update(done, 100_000_000)
    drawn = stream.getvalue()
    assert "\n" not in drawn
    # What is left on the screen is blank: the next line may be printed over it.
    assert drawn.endswith("\r")
    assert drawn.split("\r")[-2].strip() == ""
    assert max(map(len, drawn.split("\r"))) < columns
    if columns == 80:
        assert re.search(r"count \[#+-+\]  50%  50\.0 of 100\.0 MB  2 MB/s  0:20 left", drawn)


def test_lines_elsewhere(progress):
    stream = io.StringIO()
    with progress("merge", "merges", stream) as bar:
        bar.update(100, 400)
        bar.update(0, 0)
    assert stream.getvalue().splitlines() == [
        "merge:  25%  100 of 400 merges  10 merges/s  0:30 left",
        "merge:   0%  0 of 0 merges  0 merges/s",
    ]
