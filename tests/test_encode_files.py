"""Files to shards and back: every input form, splits, interruptions, damage, bad arguments."""

import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from bytemill import Tokenizer, atomic
from bytemill.data import expand_inputs, iter_documents, open_shards
from bytemill.data.encode_files import DiskFullError
from bytemill.data.shard_run import STATE_NAME
from bytemill.data.shards import SPLITS
from test_inputs import DOCUMENTS, FORMS, SPECIAL, as_text
from vocabularies import generated_text, train

np = pytest.importorskip("numpy", reason="numpy is not installed")

ROOT = Path(__file__).parent.parent
BOS = "<|bos|>"
KEPT = [document for document in DOCUMENTS if document]


@pytest.fixture(scope="module")
def tokenizer():
    return train([generated_text(), *DOCUMENTS[:5]], 600, [SPECIAL, BOS])


@pytest.fixture(scope="module")
def expected(tokenizer):
    return [tokenizer.encode_ordinary(document) for document in KEPT]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(as_text(DOCUMENTS))
    return path


def split_up(ids, offsets):
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def documents_of(shards):
    return [shards.document(i).tolist() for i in range(shards.n_documents)]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def first_part_is_val(document, fraction):
    return zlib.crc32(document.encode()) < fraction * 2**32


@pytest.mark.parametrize(
    ("name", "num_threads"),
    [
        *((name, 2) for name in FORMS),
        *((name, n) for name in ("a.txt", "a.txt.gz", "a.jsonl", "a.parquet") for n in (1, 8)),
    ],
)
def test_every_form_of_file(name, num_threads, tmp_path, tokenizer, expected):
    path = tmp_path / name
    path.write_bytes(FORMS[name]())
    ids, offsets = tokenizer.encode_files_to_numpy(path, num_threads=num_threads)
    assert ids.dtype == np.uint16
    assert offsets.dtype == np.uint64
    assert split_up(ids, offsets) == expected
    out = tmp_path / "out"
    manifest = tokenizer.encode_files(path, out, num_threads=num_threads, shard_tokens=100_000)
    shards = open_shards(out, tokenizer=tokenizer, verify=True)
    assert documents_of(shards) == expected
    assert len(shards.arrays) > 1
    assert (manifest.n_tokens, manifest.n_documents) == (len(ids), len(expected))
    assert manifest.n_bytes == sum(len(document.encode()) for document in KEPT)
    assert manifest == shards.manifest


def test_separators(corpus, tmp_path, tokenizer, expected):
    end, bos = tokenizer.special_tokens[SPECIAL], tokenizer.special_tokens[BOS]
    ids, offsets = tokenizer.encode_files_to_numpy(corpus, separator=SPECIAL)
    assert split_up(ids, offsets) == [[*document, end] for document in expected]
    options = {"separator": BOS, "separator_at": "start"}
    ids, offsets = tokenizer.encode_files_to_numpy(corpus, **options)
    assert split_up(ids, offsets) == [[bos, *document] for document in expected]
    tokenizer.encode_files(corpus, tmp_path / "out", **options)
    shards = open_shards(tmp_path / "out")
    assert documents_of(shards) == [[bos, *document] for document in expected]
    assert shards.manifest.settings["separator_id"] == bos


def test_a_pattern_without_a_scanner(corpus):
    tokenizer = train([generated_text()], 400, [SPECIAL], pattern=r"\w+|\s+|[^\w\s]")
    ids, offsets = tokenizer.encode_files_to_numpy(corpus, num_threads=2)
    assert split_up(ids, offsets) == [tokenizer.encode_ordinary(document) for document in KEPT]


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.5, 1.0])
def test_split_by_hash(fraction, corpus, tmp_path, tokenizer, expected):
    outputs = []
    for num_threads in (1, 2, 8):
        out = tmp_path / f"out{num_threads}"
        options = {"validation_fraction": fraction, "shard_tokens": 50_000}
        tokenizer.encode_files(corpus, out, num_threads=num_threads, **options)
        outputs.append(contents(out))
    assert outputs[0] == outputs[1] == outputs[2]
    sides = {"train": [], "val": []}
    for document, ids in zip(KEPT, expected, strict=True):
        sides["val" if first_part_is_val(document, fraction) else "train"].append(ids)
    for split, want in sides.items():
        assert documents_of(open_shards(out, split=split, verify=True)) == want


def test_the_split_does_not_depend_on_order(tmp_path, tokenizer):
    """Long documents too, which are encoded in parts before their hash is known."""
    documents = [f"{i} " * (200_000 if i % 5 == 0 else 10) for i in range(40)]
    random.Random(1).shuffle(documents)
    sides = []
    for name, order in (("a", documents), ("b", documents[::-1])):
        (tmp_path / f"{name}.txt").write_bytes(as_text(order))
        tokenizer.encode_files(tmp_path / f"{name}.txt", tmp_path / name, validation_fraction=0.4)
        splits = [documents_of(open_shards(tmp_path / name, split=s)) for s in ("train", "val")]
        sides.append([sorted(split) for split in splits])
    assert sides[0] == sides[1]
    val = [tokenizer.encode_ordinary(d) for d in documents if first_part_is_val(d, 0.4)]
    assert sides[0][1] == sorted(val)
    assert any(len(ids) > 100_000 for ids in val)


def test_many_files_keep_their_order(tmp_path, tokenizer):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    folder = tmp_path / "in"
    folder.mkdir()
    for i, (name, make) in enumerate(FORMS.items()):
        if "." in name and not name.endswith((".c", ".c.gz")):
            (folder / f"{i:02}{name}").write_bytes(make())
    tokenizer.encode_files(folder, tmp_path / "out", num_threads=2)
    shards = open_shards(tmp_path / "out")
    want = iter_documents(folder, special_tokens=list(tokenizer.special_tokens))
    for i, document in enumerate(want):
        if i % len(KEPT) < 20 and len(document) < 10_000:
            assert shards.document(i).tolist() == tokenizer.encode_ordinary(document)
    assert i + 1 == shards.n_documents
    assert [entry["size"] for entry in shards.manifest.inputs] == [
        file.size for file in expand_inputs(folder)
    ]


def test_no_documents(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text(SPECIAL * 3)
    ids, offsets = tokenizer.encode_files_to_numpy(tmp_path / "a.txt")
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    manifest = tokenizer.encode_files(tmp_path / "a.txt", tmp_path / "out", separator=SPECIAL)
    assert manifest.n_documents == manifest.n_tokens == 0
    shards = open_shards(tmp_path / "out", verify=True)
    assert len(shards) == shards.n_documents == len(shards[:]) == 0
    with pytest.raises(IndexError, match="document 0 of 0"):
        shards.document(0)


def test_reading_across_shards(corpus, tmp_path, tokenizer, expected):
    tokenizer.encode_files(corpus, tmp_path / "out", shard_tokens=1000)
    shards = open_shards(tmp_path / "out")
    flat = np.array([id_ for document in expected for id_ in document], np.uint16)
    assert len(shards) == shards.n_tokens == len(flat)
    assert shards.n_documents == len(expected)
    assert shards.dtype == np.uint16
    assert np.array_equal(np.concatenate(shards.arrays), flat)
    rng = random.Random(5)
    bounds = [0, len(flat), *np.cumsum([len(a) for a in shards.arrays])]
    for _ in range(300):
        a, b = (int(rng.choice(bounds)) + rng.randint(-2, 2) for _ in "ab")
        assert np.array_equal(shards[a:b], flat[a:b])
    for i in (0, 1, -1, len(flat) // 2):
        assert shards[i] == flat[i]
    assert np.shares_memory(shards[10:20], shards.arrays[0])
    assert shards.document(-1).tolist() == expected[-1]
    for index in (len(flat), -len(flat) - 1):
        with pytest.raises(IndexError, match=str(index)):
            shards[index]
    with pytest.raises(ValueError, match="step 2"):
        shards[::2]
    with pytest.raises(ValueError, match="read-only"):
        shards.arrays[0][0] = 1
    for path in (tmp_path / "out").glob("*.npy"):
        saved = tmp_path / "again.npy"
        np.save(saved, np.load(path))
        assert saved.read_bytes() == path.read_bytes()


def test_dtype(corpus, tmp_path, tokenizer, expected):
    ids, _ = tokenizer.encode_files_to_numpy(corpus, dtype="uint32")
    assert ids.dtype == np.uint32
    assert ids.tolist() == [id_ for document in expected for id_ in document]
    large = Tokenizer(tokenizer.mergeable_ranks, {BOS: 65536}, pattern=tokenizer.pat_str)
    assert large.encode_files_to_numpy(corpus)[0].dtype == np.uint32
    with pytest.raises(ValueError, match=r'dtype="uint16".*65536.*"uint32"'):
        large.encode_files(corpus, tmp_path / "out", dtype="uint16")
    options = {"separator": BOS, "dtype": "uint32"}
    assert large.encode_files(corpus, tmp_path / "out", **options).dtype == "uint32"
    assert open_shards(tmp_path / "out").document(0)[-1] == 65536
    exact = Tokenizer(tokenizer.mergeable_ranks, {BOS: 65535}, pattern=tokenizer.pat_str)
    ids, _ = exact.encode_files_to_numpy(corpus, separator=BOS)
    assert ids.dtype == np.uint16
    assert ids[-1] == 65535


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dtype": "int16"}, ValueError, "int16.*uint32"),
        ({"separator": "<|no|>"}, ValueError, r"<\|no\|>.*<\|endoftext\|>"),
        ({"separator_at": "middle"}, ValueError, "middle.*start"),
        ({"shard_tokens": 0}, ValueError, "shard_tokens=0"),
        ({"shard_tokens": 1.5}, TypeError, "shard_tokens=1.5"),
        ({"validation_fraction": 1.1}, ValueError, "validation_fraction=1.1"),
        ({"validation_fraction": float("nan")}, ValueError, "validation_fraction=nan"),
        ({"validation_fraction": "0.1"}, TypeError, "validation_fraction='0.1'"),
        ({"num_threads": 0}, ValueError, "num_threads=0"),
        ({"num_threads": -1}, ValueError, "num_threads=-1"),
        ({"errors": "ignore"}, ValueError, "ignore.*replace"),
        ({"paths": []}, ValueError, "the list of paths is empty"),
        ({"paths": "no/such/file"}, FileNotFoundError, "no/such/file"),
        ({"paths": 3}, TypeError, "3"),
    ],
)
def test_bad_arguments_leave_nothing(options, error, words, corpus, tmp_path, tokenizer):
    with pytest.raises(error, match=words):
        tokenizer.encode_files(**{"paths": corpus, "out_dir": tmp_path / "a" / "out", **options})
    assert not (tmp_path / "a").exists()


def test_bad_text_leaves_nothing(tmp_path, tokenizer):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"good " * 300_000 + b"\xff")
    with pytest.raises(ValueError, match=r"bad\.txt: invalid UTF-8 at byte 1500000"):
        tokenizer.encode_files(bad, tmp_path / "a" / "out", num_threads=2)
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match=r"bad\.txt: invalid UTF-8 at byte 1500000"):
        tokenizer.encode_files_to_numpy(bad)
    ids, _ = tokenizer.encode_files_to_numpy(bad, errors="replace")
    assert tokenizer.decode(ids.tolist()) == "good " * 300_000 + "\ufffd"


def test_what_progress_raises_ends_the_call(corpus, tmp_path, tokenizer):
    def fail(done, total):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        tokenizer.encode_files(corpus, tmp_path / "out", progress=fail)
    seen = []
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    tokenizer.encode_files(corpus, out, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (corpus.stat().st_size,) * 2


# Interruptions

OPTIONS = {"separator": BOS, "validation_fraction": 0.2, "shard_tokens": 5000, "num_threads": 2}
KILLED = """
import json, os, signal, sys
from bytemill import Tokenizer, atomic
saved, paths, out, options, at = sys.argv[1:]
at, late = divmod(int(at), 2)
write, calls = atomic.write_bytes, 0

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

atomic.write_bytes = dying
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
    write, calls = atomic.write_bytes, []

    def stopping(path, data):
        calls.append(path)
        if len(calls) > n:
            raise error
        write(path, data)

    monkeypatch.setattr(atomic, "write_bytes", stopping)


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
    with pytest.raises(ValueError, match="other input files, or they were changed"):
        tokenizer.encode_files(**interrupted)
    assert contents(out) == before


def test_a_changed_input_of_the_same_length(interrupted, tokenizer):
    path = interrupted["paths"][0] / "d.txt"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(ValueError, match="an input file was changed since"):
        tokenizer.encode_files(**interrupted)


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


def test_damaged_shards(corpus, tmp_path, tokenizer):
    out = tmp_path / "out"
    tokenizer.encode_files(corpus, out, shard_tokens=100_000, validation_fraction=0.2)
    whole = contents(out)
    path = out / "train-00001.npy"

    def refused(words, **options):
        with pytest.raises(ValueError, match=words):
            open_shards(out, **options)
        for name, data in whole.items():
            (out / name).write_bytes(data)

    path.unlink()
    refused(r"train-00001\.npy: the file is missing.*encode the files again")
    path.write_bytes(whole[path.name][:-1])
    refused(r"train-00001\.npy: it has \d+ bytes instead of \d+")
    with (out / "train-00000.docs.npy").open("ab") as file:
        file.write(b"12345678")
    refused(r"train-00000\.docs\.npy: it has")
    data = bytearray(whole[path.name])
    data[-1] ^= 1
    path.write_bytes(data)
    assert open_shards(out).n_tokens
    refused(r"train-00001\.npy: its CRC-32", verify=True)
    data = bytearray(whole[path.name])
    data[20] ^= 0x7F
    path.write_bytes(data)
    refused(r"train-00001\.npy: it ")
    refused("another tokenizer", tokenizer="0" * 64)
    refused("another tokenizer", tokenizer=train(["a b"], 257))
    refused("split='test'", split="test")
    assert open_shards(out, tokenizer=tokenizer.fingerprint, verify=True).n_documents


def test_damaged_manifest(corpus, tmp_path, tokenizer):
    out = tmp_path / "out"
    tokenizer.encode_files(corpus, out)
    path = out / "manifest.json"
    good = json.loads(path.read_text())
    shard = good["splits"]["train"][0]

    def with_shard(**fields):
        return {**good, "splits": {"train": [{**shard, **fields}], "val": []}}

    for bad, words in (
        ({**good, "format": "x"}, "format"),
        ({**good, "version": 2}, "version 2"),
        ({**good, "version": "1"}, "version '1'"),
        ({**good, "dtype": "int8"}, "int8"),
        ({**good, "more": 1}, "more"),
        ({k: v for k, v in good.items() if k != "splits"}, "splits"),
        ({**good, "splits": []}, "damaged"),
        ({**good, "counts": {}}, "counts"),
        (with_shard(file="../x.npy"), "x.npy"),
        (with_shard(tokens=-1), "tokens"),
        (with_shard(tokens="1"), "tokens"),
        (with_shard(tokens=shard["tokens"] + 1), "counts"),
        ([], "manifest"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=words):
            open_shards(out)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"manifest\.json"):
        open_shards(out)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        open_shards(out)
