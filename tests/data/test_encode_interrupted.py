"""Runs that are killed, stopped, or find their folder changed, and go on."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bytemill import _core, files
from bytemill.data import DiskFullError, open_shards
from bytemill.data.shard_run import STATE_NAME
from bytemill.data.shards import SPLITS
from tests.support.input_forms import FORMS, SPECIAL, as_text
from tests.support.shard_cases import BOS, contents
from tests.support.vocabularies import generated_text, train

np = pytest.importorskip("numpy", reason="numpy is not installed")

ROOT = Path(__file__).parents[2]
OPTIONS = {"separator": BOS, "validation_fraction": 0.2, "shard_tokens": 5000, "num_threads": 2}


KILLED = """
import json, os, signal, sys
from bytemill import Tokenizer, files
saved, paths, out, options, at = sys.argv[1:]
at, late = divmod(int(at), 2)
write, calls = files.write_bytes, 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(path, data):
    global calls
    calls += 1
    if calls > at and not late:
        path.with_name("." + path.name + ".123456.tmp").write_bytes(data[:10])
        die()
    write(path, data)
    if calls > at:
        die()

files.write_bytes = dying
print("go", flush=True)
Tokenizer.load(saved).encode_files(json.loads(paths), out, **json.loads(options))
"""


@pytest.fixture
def mixed(tmp_path):
    """Several files, forms and long documents; and what an undisturbed run makes of them."""
    folder = tmp_path / "in"
    folder.mkdir()
    long = "".join(random.Random(3).choices(["word ", "é", "日本 ", "\n", "x"], k=400_000))
    texts = [f"{generated_text(i, 150)} {i}" for i in range(60)]
    texts[25] = long
    (folder / "a.txt").write_bytes(as_text(texts[:30]))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts[30:40]))
    (folder / "c.txt.gz").write_bytes(FORMS["a.txt.gz"]())
    (folder / "d.txt").write_bytes(as_text(texts[40:]))
    return folder


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_every_checkpoint(mixed, tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    tokenizer.encode_files([mixed], tmp_path / "whole", **OPTIONS)
    whole = contents(tmp_path / "whole")
    out = tmp_path / "out"
    arguments = [tmp_path / "tokenizer", json.dumps([str(mixed)]), out, json.dumps(OPTIONS)]
    times = 0
    # By turns after storing a checkpoint and while storing one, some checkpoints further each time.
    for at in (0, 1, 3, 2, 7, 12, 5, 20, 11, *([60, 81] * 50)):
        command = [sys.executable, "-c", KILLED, *map(str, [*arguments, at])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        times += 1
        with pytest.raises(FileNotFoundError, match="make the same call again"):
            open_shards(out)
    assert times > 5
    assert contents(out) == whole


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_any_time(mixed, tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    tokenizer.encode_files([mixed], tmp_path / "whole", **OPTIONS)
    out = tmp_path / "out"
    arguments = [tmp_path / "tokenizer", json.dumps([str(mixed)]), out, json.dumps(OPTIONS)]
    command = [sys.executable, "-c", KILLED, *map(str, arguments), str(10**9)]
    rng = random.Random(4)
    tries = int(os.environ.get("BYTEMILL_CASES", 0)) or 10
    for i in range(tries + 1):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            process.wait(None if i == tries else rng.uniform(0.01, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if process.returncode == 0 and i < tries:
            assert contents(out) == contents(tmp_path / "whole")
            shutil.rmtree(out)
    assert process.returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


class Stop(Exception):
    pass


@pytest.fixture
def interrupted(mixed, tmp_path, tokenizer, monkeypatch):
    """A folder in which a run has stopped, and what is to be passed to go on."""
    stop_at_write(monkeypatch, 6, Stop())
    with pytest.raises(Stop):
        tokenizer.encode_files([mixed], tmp_path / "out", **OPTIONS)
    monkeypatch.undo()
    assert (tmp_path / "out" / STATE_NAME).exists()
    return {"paths": [mixed], "out_dir": tmp_path / "out", **OPTIONS}


def stop_at_write(monkeypatch, n, error):
    write, calls = files.write_bytes, []

    def stopping(path, data):
        calls.append(path)
        if len(calls) > n:
            raise error
        write(path, data)

    monkeypatch.setattr(files, "write_bytes", stopping)


def test_what_is_finished_is_not_made_again(interrupted, tokenizer):
    out = interrupted["out_dir"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("[tv]*.npy")}
    assert len(before) >= 10
    tokenizer.encode_files(**interrupted)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    after = contents(out)
    assert all(name.startswith(("train-", "val-", "manifest")) for name in after)
    # A run that has ended is not repeated.
    manifest = tokenizer.encode_files(**interrupted)
    assert manifest == open_shards(out).manifest
    assert contents(out) == after


@pytest.mark.parametrize("ended", [False, True])
def test_another_run_in_the_same_folder(ended, interrupted, tmp_path, tokenizer):
    out, mixed = interrupted["out_dir"], interrupted["paths"][0]
    if ended:
        tokenizer.encode_files(**interrupted)
    before = contents(out)
    other = train([generated_text(9)], 600, [SPECIAL, BOS])
    for which, options, words in (
        (other, {}, "another tokenizer"),
        (tokenizer, {"paths": [mixed / "a.txt"]}, "other input files"),
        (tokenizer, {"shard_tokens": 5001}, "shard_tokens=5000 instead of 5001"),
        (tokenizer, {"separator": None}, f"separator={BOS!r} instead of None"),
        (tokenizer, {"validation_fraction": 0.1}, "validation_fraction=0.2 instead of 0.1"),
        (tokenizer, {"errors": "replace"}, "errors='strict' instead of 'replace'"),
        (tokenizer, {"dtype": "uint32"}, "dtype='uint16' instead of 'uint32'"),
    ):
        with pytest.raises(ValueError, match=re.escape(words) + ".*name another output folder"):
            which.encode_files(**{**interrupted, **options})
    with (mixed / "d.txt").open("a") as file:
        file.write("more")
    with pytest.raises(ValueError, match=r"the input file .*d\.txt was changed since"):
        tokenizer.encode_files(**interrupted)
    assert contents(out) == before


@pytest.mark.parametrize("ended", [False, True])
def test_a_changed_input_of_the_same_length_and_time(ended, interrupted, tokenizer):
    if ended:
        tokenizer.encode_files(**interrupted)
    path = interrupted["paths"][0] / "d.txt"
    data, times = path.read_bytes(), path.stat()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"?" + data[middle + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = contents(interrupted["out_dir"])
    with pytest.raises(ValueError, match=r"d\.txt was changed since; name another output folder"):
        tokenizer.encode_files(**interrupted)
    assert contents(interrupted["out_dir"]) == before
    # Its content counts, not its time.
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18))
    tokenizer.encode_files(**interrupted)


def test_a_pipe_is_never_done_before(tmp_path, tokenizer):
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    for text in ("one text", "two text"):
        writer = threading.Thread(target=pipe.write_text, args=(text,), daemon=True)
        writer.start()
        if text == "one text":
            manifest = tokenizer.encode_files(pipe, out)
            assert manifest.n_bytes == 8 and manifest.inputs[0]["crc32"] is None
            writer.join()
        else:
            with pytest.raises(
                ValueError, match="pipe, which is not a file that could be compared"
            ):
                tokenizer.encode_files(pipe, out)
            assert pipe.open().read() == text  # nothing was taken from it
    assert open_shards(out).manifest == manifest


def test_a_file_that_is_changed_while_it_is_read(corpus, tmp_path, tokenizer, monkeypatch):
    path, encode = tmp_path / "a.txt", _core.encode_shards
    path.write_text("text of a length")

    def changing(*args, **options):
        checkpoint = encode(*args, **options)
        path.write_text("TEXT OF A LENGTH")
        return checkpoint

    monkeypatch.setattr(_core, "encode_shards", changing)
    with pytest.raises(ValueError, match=r"a\.txt: .*changed while it was being read; remove"):
        tokenizer.encode_files(path, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_damaged_state(interrupted, tokenizer):
    out = interrupted["out_dir"]
    state = json.loads((out / STATE_NAME).read_text())
    for damage in (
        b"{",
        b"[]",
        b'{"format": "x"}',
        json.dumps({**state, "checkpoint": None}).encode(),
        json.dumps({**state, "checkpoint": {"source": 1}}).encode(),
        json.dumps({**state, "checkpoint": {**state["checkpoint"], "source": 99}}).encode(),
        json.dumps({**state, "asked": None}).encode(),
    ):
        (out / STATE_NAME).write_bytes(damage)
        with pytest.raises(ValueError, match=r"state|checkpoint"):
            tokenizer.encode_files(**interrupted)
    (out / STATE_NAME).write_text(json.dumps(state))


def test_lost_files_of_an_unfinished_run(mixed, tmp_path, tokenizer, monkeypatch):
    out, lost = tmp_path / "out", "missing or too short; remove the output folder"
    n = 1
    while True:
        stop_at_write(monkeypatch, n, Stop())
        with pytest.raises(Stop):
            tokenizer.encode_files([mixed], out, **OPTIONS)
        monkeypatch.undo()
        splits = json.loads((out / STATE_NAME).read_text())["checkpoint"]["splits"]
        found = [(s, len(x["shards"])) for s, x in zip(SPLITS, splits, strict=True)
                 if x["open"] and x["open"]["tokens"]]  # fmt: skip
        if found:
            break
        n += 1
        shutil.rmtree(out)
    for path in (out / "train-00000.npy", out / ".{}-{:05}.npy.part".format(*found[0])):
        data = path.read_bytes()
        path.write_bytes(data[:200])
        with pytest.raises(ValueError, match=lost):
            tokenizer.encode_files([mixed], out, **OPTIONS)
        path.unlink()
        with pytest.raises(ValueError, match=lost):
            tokenizer.encode_files([mixed], out, **OPTIONS)
        path.write_bytes(data)
    tokenizer.encode_files([mixed], out, **OPTIONS)
    open_shards(out, verify=True)


def test_files_in_the_way(corpus, tmp_path, tokenizer):
    out = tmp_path / "out"
    out.mkdir()
    (out / "train-00000.npy").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"train-00000\.npy: this file is in the way"):
        tokenizer.encode_files(corpus, out)
    assert contents(out) == {"train-00000.npy": b"mine"}
    with pytest.raises(FileExistsError):
        tokenizer.encode_files(corpus, corpus)


@pytest.mark.skipif(os.name == "nt", reason="locks work otherwise on Windows")
def test_two_at_once(corpus, tmp_path, tokenizer):
    out = tmp_path / "out"

    def second(done, total):
        with pytest.raises(ValueError, match="another process is encoding to this folder"):
            tokenizer.encode_files(corpus, out)
        raise Stop

    with pytest.raises(Stop):
        tokenizer.encode_files(corpus, out, progress=second)
    tokenizer.encode_files(corpus, out)


@pytest.mark.parametrize("n", [0, 3])
def test_full_disk(n, mixed, tmp_path, tokenizer, monkeypatch):
    out = tmp_path / "new" / "out"
    tokenizer.encode_files([mixed], tmp_path / "whole", **OPTIONS)
    stop_at_write(monkeypatch, n, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"))
    with pytest.raises(DiskFullError, match="make room") as caught:
        tokenizer.encode_files([mixed], out, **OPTIONS)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert out.exists() == (n > 0)
    tokenizer.encode_files([mixed], out, **OPTIONS)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_shard_that_cannot_be_written(corpus, tmp_path, tokenizer):
    resource = pytest.importorskip("resource", reason="this system has no limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            tokenizer.encode_files(corpus, tmp_path / "out")
        assert "train-00000.npy" in caught.value.filename
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out").exists()


# Damage
