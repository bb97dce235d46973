"""`bytemill tok-encode`, run as a user runs it."""

import os
import re
import time
from functools import partial

import pytest

from bytemill import Tokenizer
from bytemill.data import open_shards
from bytemill.data.download.manifest import DownloadManifest, KnownFile, digest_of
from tests.support.programs import (
    SPECIAL,
    TEXT,
    call,
    command,
    interrupted,
    is_one_line,
    run,
)

pytest.importorskip("numpy", reason="numpy is not installed")
N_DOCUMENTS = 2000


@pytest.fixture
def folder(tmp_path):
    """A corpus and a tokenizer."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    tokenizer = Tokenizer.train([TEXT], 300, [SPECIAL])
    tokenizer.save(tmp_path / "tokenizer")
    return tmp_path


@pytest.fixture
def encode(folder, capsys):
    """Runs the program in this process: status, stdout, stderr."""
    base = ["--tokenizer", folder / "tokenizer", "--input", folder / "corpus.txt"]
    return partial(call, capsys, "tok-encode", *base, "--out", folder / "out")


def test_encodes_and_tells(folder, encode):
    tokenizer = Tokenizer.load(folder / "tokenizer")
    options = ["--separator", SPECIAL, "--val-fraction", 0.1, "--shard-tokens", 20_000]
    done = encode(*options, "--threads", 2)
    assert done[0] == 0, done[2]
    train = open_shards(folder / "out", tokenizer=tokenizer, verify=True)
    val = open_shards(folder / "out", split="val", verify=True)
    assert train.n_documents + val.n_documents == N_DOCUMENTS
    assert train.document(0)[-1] == tokenizer.special_tokens[SPECIAL]
    for figure in (
        r"encoded +[\d.]+ kB in [\d.]+ s",
        r"compression +\d\.\d{3} bytes per token \(2,000 documents",
        f"train +{train.n_tokens:,} tokens in {train.n_documents:,} documents, "
        f"{len(train.arrays)} shards of uint16",
        f"val +{val.n_tokens:,} tokens in {val.n_documents:,} documents, 1 shard of uint16",
        f"fingerprint +{tokenizer.fingerprint}",
        r"written +.*out/manifest.json \([\d.]+ kB\)",
        r"out/train-00000.npy to train-0000\d.npy, each with its .docs.npy \([\d.]+ kB\)",
        r"out/val-00000.npy with its .docs.npy \([\d.]+ kB\)",
    ):
        assert re.search(figure, done[1]), done[1]
    again = encode(*options)
    assert again[0] == 0
    assert "this was done before" in again[1]


def test_all_options(folder, capsys):
    (folder / "a.jsonl").write_bytes(b'{"body": "low \xff lower"}\n')
    done = call(
        capsys, "tok-encode", "--tokenizer", folder / "tokenizer", "--input", folder / "a.jsonl",
        "--out", folder / "out", "--separator", SPECIAL, "--separator-at", "start", "--dtype",
        "uint32", "--text-column", "body", "--errors", "replace", "--threads", 1,
    )  # fmt: skip
    assert done[0] == 0, done[2]
    tokenizer = Tokenizer.load(folder / "tokenizer")
    want = [tokenizer.special_tokens[SPECIAL], *tokenizer.encode("low \ufffd lower")]
    shards = open_shards(folder / "out")
    assert shards.document(0).tolist() == want
    assert shards.dtype == "uint32"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tokenizer", "no/such"], ["no/such"]),
        (["--input", "no/such/file.txt"], ["no/such/file.txt", "No such file"]),
        (["--separator", "<|no|>"], ["<|no|>", SPECIAL]),
        (["--val-fraction", 2], ["--val-fraction 2.0"]),
        (["--shard-tokens", 0], ["--shard-tokens 0"]),
        (["--threads", 0], ["--threads 0"]),
        (["--out", __file__], [__file__, "not a folder"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options, words, folder, encode):
    done = encode(*options)
    assert done[0] == 2
    assert done[1] == ""
    is_one_line(done[2], "error: ", *words)
    assert not (folder / "out").exists()


def test_a_file_that_a_download_pinned_is_left_out_unless_it_is_named(folder, capsys):
    """As in training on the folder: what is validated on is not trained on."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for name in ("a", "b", "val"):
        (corpus / f"{name}.txt").write_text(f"{name} " * 50)
    files = {
        path.name: KnownFile(path.stat().st_size, digest_of(path)) for path in corpus.iterdir()
    }
    DownloadManifest("x", None, "val.txt", files).save(corpus)

    def encoded(name, out):
        options = ["--tokenizer", folder / "tokenizer", "--input", name, "--out", folder / out]
        done = call(capsys, "tok-encode", *options)
        assert done[0] == 0, done[2]
        return done[1], open_shards(folder / out).n_documents

    for number, name in enumerate((corpus, corpus / "*.txt")):
        told, n = encoded(name, f"all{number}")
        assert n == 2
        assert f"left out     {corpus / 'val.txt'}, pinned for validation" in told
    told, n = encoded(corpus / "val.txt", "val")
    assert n == 1 and "left out" not in told
    for name in "ab":
        (corpus / f"{name}.txt").unlink()
    options = ["--tokenizer", folder / "tokenizer", "--input", corpus, "--out", folder / "none"]
    status, _, error = call(capsys, "tok-encode", *options)
    assert status in (1, 2)
    assert "val.txt, which a download has pinned for validation" in error
    assert not (folder / "none").exists()


def test_other_settings_in_the_same_folder(folder, encode):
    assert encode()[0] == 0
    done = encode("--shard-tokens", 5)
    assert done[0] == 2
    is_one_line(done[2], "--shard-tokens 100000000 instead of 5", "add --overwrite")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_keeps_what_is_finished(folder):
    pipe = folder / "pipe.txt"
    words = command(
        "tok-encode", "--input", folder / "corpus.txt", pipe, "--out", folder / "out",
        "--tokenizer", folder / "tokenizer", "--shard-tokens", "10000",
    )  # fmt: skip
    late = time.monotonic() + 300
    status, out, err = interrupted(
        words, pipe,
        lambda _: (folder / "out" / "state.json").exists() or time.monotonic() > late,
    )  # fmt: skip
    assert (status, out) == (130, ""), err
    is_one_line(err, "interrupted", "run the same command again")
    assert (folder / "out" / "state.json").exists()
    assert (folder / "out" / "train-00000.npy").exists()


def test_shards_are_replaced_only_if_told(folder, encode):
    assert encode("--shard-tokens", 5000)[0] == 0
    (folder / "out" / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    # What is wrong is found before anything is removed.
    for wrong in (["--separator", "<|no|>"], ["--val-fraction", 2], ["--input", "no/such"]):
        assert encode("--overwrite", *wrong)[0] == 2
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before
    status, out, err = encode("--overwrite")
    assert status == 0, err
    assert "notes.txt" not in out
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "manifest.json", "notes.txt", "train-00000.docs.npy", "train-00000.npy",
    ]  # fmt: skip
    assert open_shards(folder / "out", verify=True).n_documents == N_DOCUMENTS
    assert "this was done before" in encode()[1]


def test_a_folder_of_other_things_is_not_written_to(folder, encode):
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    status, _, err = encode()
    assert status == 2
    is_one_line(err, "something else", "--overwrite")
    assert [path.name for path in (folder / "out").iterdir()] == ["notes.txt"]


def test_text_on_stdin(folder, encode):
    assert encode()[0] == 0
    base = ["--tokenizer", folder / "tokenizer", "--out", folder / "piped"]
    done = run("tok-encode", "--input", "-", *base, input=TEXT)
    assert done.returncode == 0, done.stderr
    for name in ("train-00000.npy", "train-00000.docs.npy"):
        assert (folder / "piped" / name).read_bytes() == (folder / "out" / name).read_bytes()
    # Other text may have come now: what is there is not taken for its shards.
    done = run("tok-encode", "--input", "-", *base, input="low")
    assert done.returncode == 2
    is_one_line(done.stderr, "holds shards already", "--overwrite")
    done = run("tok-encode", "--input", "-", *base, "--overwrite", input="low")
    assert done.returncode == 0, done.stderr
    assert open_shards(folder / "piped").n_documents == 1
