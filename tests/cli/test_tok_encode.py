"""`python -m scripts.tok_encode`, run as a user runs it."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from bytemill import Tokenizer
from bytemill.data import open_shards
from tests.support.programs import ROOT, SPECIAL, TEXT, is_one_line, run

pytest.importorskip("numpy", reason="numpy is not installed")
MODULE = "scripts.tok_encode"
N_DOCUMENTS = 2000


@pytest.fixture
def folder(tmp_path):
    """A corpus and a tokenizer."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    tokenizer = Tokenizer.train([TEXT], 300, [SPECIAL])
    tokenizer.save(tmp_path / "tokenizer")
    return tmp_path


def encode(folder, *options, out="out"):
    return run(
        "--tokenizer", folder / "tokenizer", "--input", folder / "corpus.txt", "--out",
        folder / out, *options, module=MODULE,
    )  # fmt: skip


def test_encodes_and_tells(folder):
    tokenizer = Tokenizer.load(folder / "tokenizer")
    options = ["--separator", SPECIAL, "--val-fraction", 0.1, "--shard-tokens", 20_000]
    done = encode(folder, *options, "--threads", 2)
    assert done.returncode == 0, done.stderr
    train = open_shards(folder / "out", tokenizer=tokenizer, verify=True)
    val = open_shards(folder / "out", split="val", verify=True)
    assert train.n_documents + val.n_documents == N_DOCUMENTS
    assert train.document(0)[-1] == tokenizer.special_tokens[SPECIAL]
    for figure in (
        r"encoded +[\d.]+ kB in [\d.]+ s",
        r"compression +\d\.\d{3} bytes per token \(2,000 documents",
        f"train +{train.n_tokens:,} tokens in {train.n_documents:,} documents, "
        f"{len(train.arrays)} shards of uint16",
        f"val +{val.n_tokens:,} tokens in {val.n_documents:,} documents, 1 shards",
        f"fingerprint +{tokenizer.fingerprint}",
        r"written +.*out \([\d.]+ kB\)",
    ):
        assert re.search(figure, done.stdout), done.stdout
    again = encode(folder, *options)
    assert again.returncode == 0
    assert "this was done before" in again.stdout


def test_all_options(folder):
    (folder / "a.jsonl").write_bytes(b'{"body": "low \xff lower"}\n')
    done = run(
        "--tokenizer", folder / "tokenizer", "--input", folder / "a.jsonl", "--out",
        folder / "out", "--separator", SPECIAL, "--separator-at", "start", "--dtype", "uint32",
        "--text-column", "body", "--errors", "replace", "--threads", 1, module=MODULE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
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
        (["--val-fraction", 2], ["validation_fraction=2.0"]),
        (["--shard-tokens", 0], ["shard_tokens=0"]),
        (["--threads", 0], ["num_threads=0"]),
        (["--out", __file__], [__file__, "no folder"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options, words, folder):
    done = encode(folder, *options)
    assert done.returncode == 2
    assert done.stdout == ""
    is_one_line(done.stderr, "error: ", *words)
    assert not (folder / "out").exists()


def test_other_settings_in_the_same_folder(folder):
    assert encode(folder).returncode == 0
    done = encode(folder, "--shard-tokens", 5)
    assert done.returncode == 2
    is_one_line(done.stderr, "shard_tokens=100000000 instead of 5", "name another output folder")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_keeps_what_is_finished(folder):
    # A pipe that never ends, so that the program is surely at work when the signal comes.
    pipe = folder / "pipe.txt"
    os.mkfifo(pipe)
    command = [
        sys.executable, "-m", MODULE, "--input", folder / "corpus.txt", pipe, "--out",
        folder / "out", "--tokenizer", folder / "tokenizer", "--shard-tokens", "10000",
    ]  # fmt: skip
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
        late = time.monotonic() + 60
        while not (folder / "out" / "state.json").exists() and time.monotonic() < late:
            writer.write(TEXT.encode())
        process.send_signal(signal.SIGINT)
        try:
            for _ in range(1000):
                writer.write(TEXT.encode())
        except BrokenPipeError:
            pass
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    is_one_line(err, "interrupted", "run the same command again")
    assert (folder / "out" / "state.json").exists()
    assert (folder / "out" / "train-00000.npy").exists()
