"""`count` and `encode` with tasks done in this process, in disorder and some twice."""

import gzip
import json
import os
import socket
import sys

import pytest

import bytemill
from bytemill import BpeTrainer, _core
from bytemill.data import on_ray, open_shards
from bytemill.data.on_ray import assembly, cluster, encoding
from bytemill.data.on_ray.cluster import Ticket
from bytemill.data.on_ray.job import CountJob, job_of
from bytemill.data.shard_run import PARTS_NAME, STATE_NAME
from tests.support.input_forms import SPECIAL, as_text
from tests.support.ray_stand_in import stand_in
from tests.support.shard_cases import BOS, contents
from tests.support.vocabularies import generated_text

pytest.importorskip("numpy", reason="numpy is not installed")

OPTIONS = {"separator": BOS, "validation_fraction": 0.2, "shard_tokens": 3000}


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    documents = [f"{generated_text(i, 120)} {i}" for i in range(90)]
    documents[20] = generated_text(99, 6000)
    (folder / "a.txt").write_bytes(as_text(documents[:40]))
    (folder / "b.jsonl").write_bytes(_jsonl(documents[40:70]))
    (folder / "c.txt").write_bytes(as_text(documents[70:80]))
    (folder / "d.txt.gz").write_bytes(gzip.compress(as_text(documents[80:])))
    (folder / "e.txt").write_bytes(b"")
    return folder


def _jsonl(documents):
    return "".join(json.dumps({"text": text}) + "\n" for text in documents).encode()


@pytest.fixture
def whole(texts, tmp_path, tokenizer):
    tokenizer.encode_files(texts, tmp_path / "whole", **OPTIONS)
    return contents(tmp_path / "whole")


@pytest.mark.parametrize("part_bytes", [1000, 20_000, None])
def test_counts_of_one_machine(part_bytes, texts, monkeypatch):
    stand_in(monkeypatch, seed=part_bytes or 0)
    trainer = BpeTrainer(pattern="cl100k", special_tokens=[SPECIAL], doc_cap=700)
    trainer.feed_files(texts)
    told = []
    counts = on_ray.count(
        texts,
        pattern="cl100k",
        special_tokens=[SPECIAL],
        doc_cap=700,
        part_bytes=part_bytes,
        progress=lambda done, total: told.append((done, total)),
    )
    assert counts.items() == trainer.counts.items()
    n_bytes = sum(path.stat().st_size for path in texts.iterdir())
    assert told == sorted(told)
    assert told[-1] == (n_bytes, n_bytes)
    other = BpeTrainer(pattern="cl100k", special_tokens=[SPECIAL])
    other.add_counts(counts)
    assert other.train(400).merges == trainer.train(400).merges


@pytest.mark.parametrize("part_bytes", [2000, 20_000, None])
def test_shards_of_one_machine(part_bytes, texts, whole, tmp_path, tokenizer, monkeypatch):
    stand_in(monkeypatch, seed=part_bytes or 0)
    manifest = on_ray.encode(texts, tokenizer, tmp_path / "out", part_bytes=part_bytes, **OPTIONS)
    assert contents(tmp_path / "out") == whole
    assert len(manifest.splits["train"]) > 3
    assert len(manifest.splits["val"]) > 1
    assert on_ray.encode(texts, tokenizer, tmp_path / "out", **OPTIONS) == manifest


def test_no_documents(tmp_path, tokenizer, monkeypatch):
    stand_in(monkeypatch)
    (tmp_path / "a.txt").write_text(SPECIAL * 3)
    for name, encode in (("one", tokenizer.encode_files), ("ray", _encode_with(tokenizer))):
        encode([tmp_path / "a.txt"], tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")
    assert on_ray.count(tmp_path / "a.txt", special_tokens=[SPECIAL]).items() == []


def _encode_with(tokenizer):
    return lambda paths, out: on_ray.encode(paths, tokenizer, out)


def test_a_run_that_was_stopped_goes_on(texts, whole, tmp_path, tokenizer, monkeypatch):
    """At every place; shards and parts that are there are not made again."""
    tasks = stand_in(monkeypatch)
    encoded = []
    real = _core.encode_shards
    monkeypatch.setattr(_core, "encode_shards", lambda *a, **k: encoded.append(1) or real(*a, **k))
    out = tmp_path / "out"
    options = {**OPTIONS, "part_bytes": 20_000}
    for n in range(3, 400, 6):
        monkeypatch.setattr(tasks, "fail_after", n)
        monkeypatch.setattr(tasks, "done", 0)
        try:
            on_ray.encode(texts, tokenizer, out, **options)
            break
        except KeyboardInterrupt:
            assert not (out / "manifest.json").exists()
    assert n > 20
    assert contents(out) == whole
    n_parts = sum(path.stat().st_size for path in texts.iterdir()) // 20_000 + 4
    assert len(encoded) <= n_parts


def test_nothing_is_left_by_those_that_were_killed(texts, whole, tmp_path, tokenizer, monkeypatch):
    """What a worker had begun lies among the parts, a shard too, and goes with them."""
    tasks = stand_in(monkeypatch)
    out = tmp_path / "out"
    beside = []
    real = os.fsync
    monkeypatch.setattr(
        assembly.os, "fsync", lambda fd: beside.extend(out.glob("*train*.tmp")) or real(fd)
    )
    monkeypatch.setattr(tasks, "fail_after", 15)
    with pytest.raises(KeyboardInterrupt):
        on_ray.encode(texts, tokenizer, out, part_bytes=20_000, **OPTIONS)
    [parts] = (out / PARTS_NAME).iterdir()
    (parts / ".train-00001.npy.0123456789ab.tmp").write_bytes(b"half")
    (parts / ".000001.0123456789ab.tmp").mkdir()
    left = []

    def look(done, total):
        left.extend(parts.glob(".*0123456789ab.tmp"))

    on_ray.encode(texts, tokenizer, out, part_bytes=20_000, progress=look, **OPTIONS)
    assert (left, beside) == ([], [])
    assert contents(out) == whole


def test_one_machine_goes_on_from_a_cluster_and_back(
    texts, whole, tmp_path, tokenizer, monkeypatch
):
    tasks = stand_in(monkeypatch)
    out = tmp_path / "out"
    monkeypatch.setattr(tasks, "fail_after", 15)
    with pytest.raises(KeyboardInterrupt):
        on_ray.encode(texts, tokenizer, out, part_bytes=20_000, **OPTIONS)
    assert (out / PARTS_NAME).is_dir()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode_files(texts, out, progress=stop, **OPTIONS)
    monkeypatch.setattr(tasks, "fail_after", None)
    on_ray.encode(texts, tokenizer, out, part_bytes=20_000, **OPTIONS)
    assert contents(out) == whole
    monkeypatch.setattr(tasks, "done", 0)
    monkeypatch.setattr(tasks, "fail_after", 15)
    with pytest.raises(KeyboardInterrupt):
        on_ray.encode(texts, tokenizer, tmp_path / "two", part_bytes=20_000, **OPTIONS)
    tokenizer.encode_files(texts, tmp_path / "two", **OPTIONS)
    assert contents(tmp_path / "two") == whole


def test_another_run_is_refused(texts, tmp_path, tokenizer, monkeypatch):
    tasks = stand_in(monkeypatch)
    out = tmp_path / "out"
    monkeypatch.setattr(tasks, "fail_after", 15)
    with pytest.raises(KeyboardInterrupt):
        on_ray.encode(texts, tokenizer, out, part_bytes=20_000, **OPTIONS)
    assert (out / STATE_NAME).exists()
    with pytest.raises(ValueError, match=r"shard_tokens=3000 instead of 5000"):
        on_ray.encode(texts, tokenizer, out, **{**OPTIONS, "shard_tokens": 5000})
    with (texts / "c.txt").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=r"c\.txt was changed since"):
        on_ray.encode(texts, tokenizer, out, part_bytes=20_000, **OPTIONS)


def test_parts_give_way_to_shards(tmp_path, tokenizer, monkeypatch):
    """The disk holds what is not in shards yet, and not the whole a second time."""
    stand_in(monkeypatch)
    (tmp_path / "a.txt").write_bytes(as_text([generated_text(i, 60) for i in range(200)]))
    largest = 0

    def look(done, total):
        nonlocal largest
        found = (tmp_path / "out").glob(f"{PARTS_NAME}/*/*/train-00000.npy")
        largest = max(largest, sum(path.stat().st_size for path in found))

    options = {"shard_tokens": 1000, "part_bytes": 3000, "progress": look}
    manifest = on_ray.encode(tmp_path / "a.txt", tokenizer, tmp_path / "out", **options)
    assert 0 < largest < manifest.n_tokens * 2 / 2
    assert len(open_shards(tmp_path / "out", verify=True)) == manifest.n_tokens


def test_a_folder_that_workers_do_not_see(texts, tmp_path, tokenizer, monkeypatch):
    """Theirs has no mark of this run."""
    stand_in(monkeypatch)
    monkeypatch.setattr(encoding, "write_bytes", lambda path, data: None)
    with pytest.raises(on_ray.ClusterError, match=r"out: a Ray worker does not see this folder"):
        on_ray.encode(texts, tokenizer, tmp_path / "out", **OPTIONS)


def test_bad_text_is_named(texts, tmp_path, tokenizer, monkeypatch):
    stand_in(monkeypatch)
    data = (texts / "a.txt").read_bytes()
    at = len(data) - 100
    while data[at] > 127:
        at += 1
    (texts / "a.txt").write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    message = rf"a\.txt: invalid UTF-8 at byte {at};"
    with pytest.raises(ValueError, match=message):
        on_ray.count(texts, special_tokens=[SPECIAL], part_bytes=5000)
    with pytest.raises(ValueError, match=message):
        on_ray.encode(texts, tokenizer, tmp_path / "out", part_bytes=5000)
    counts = on_ray.count(texts, special_tokens=[SPECIAL], part_bytes=5000, errors="replace")
    trainer = BpeTrainer(special_tokens=[SPECIAL])
    trainer.feed_files(texts, errors="replace")
    assert counts.items() == trainer.counts.items()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused(tmp_path, tokenizer):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe: it is not a file.* write it to a file first"):
        on_ray.count(tmp_path / "pipe")


def test_a_worker_of_another_version(monkeypatch):
    """It says so before it reads the job, which it may not be able to."""
    ticket = Ticket(object(), "k", bytemill.__version__)
    monkeypatch.setattr(bytemill, "__version__", "9.9")
    with pytest.raises(on_ray.ClusterError, match=r"has bytemill 9\.9, and the driver .*=="):
        job_of(ticket)


def test_a_worker_that_counts_otherwise():
    job = CountJob(key="k", pattern="gpt2", doc_cap=None)
    other = CountJob(key="k", pattern="cl100k", doc_cap=None)
    object.__setattr__(job, "expected", other.expected)
    with pytest.raises(on_ray.ClusterError, match="install one build of bytemill"):
        job.check()


def test_ray_is_not_installed(texts, tmp_path, tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'bytemill\[ray\]'"):
        on_ray.count(texts)
    with pytest.raises(ImportError, match=r"pip install 'bytemill\[ray\]'"):
        on_ray.encode(texts, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class NoCluster:
    """The package ray, where there is none to connect to."""

    @staticmethod
    def is_initialized():
        return False

    @staticmethod
    def init(address=None, **options):
        raise ConnectionError("Could not find any running Ray instance.\nMore.")


def test_no_cluster(monkeypatch):
    monkeypatch.setattr(cluster, "ray_module", lambda: NoCluster)
    with pytest.raises(ConnectionError, match=r"address='auto': .*instance\.\); start one with"):
        on_ray.connect("auto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(ConnectionError, match=rf"address='127.0.0.1:{free}': no cluster could be"):
        on_ray.connect(f"127.0.0.1:{free}")
