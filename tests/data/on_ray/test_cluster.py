"""On a cluster of two nodes on this machine: the results of one, and workers and nodes that die.

Starting Ray takes seconds, so there is one cluster for all tests; the last takes a node from it.
"""

import json
import os
import random
import signal

import pytest

import bytemill
from bytemill import BpeTrainer
from bytemill.data import on_ray
from bytemill.data.on_ray import cluster as tasks
from tests.support.input_forms import SPECIAL, as_text
from tests.support.shard_cases import BOS, contents
from tests.support.vocabularies import generated_text

pytest.importorskip("numpy", reason="numpy is not installed")
ray = pytest.importorskip("ray", reason="ray is not installed")

OPTIONS = {"separator": BOS, "validation_fraction": 0.2, "shard_tokens": 5000}
MEMORY = 80 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one CPU. Nothing leaves the machine."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="ray has no cluster_utils")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": MEMORY}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    cluster.other = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    patch.undo()


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    documents = [f"{generated_text(i, 120)} {i}" for i in range(120)]
    (folder / "a.txt").write_bytes(as_text(documents[:60]))
    lines = [json.dumps({"text": text}) for text in documents[60:]]
    (folder / "b.jsonl").write_text("\n".join(lines))
    return folder


def test_the_merges_of_one_machine(cluster, texts):
    trainer = BpeTrainer(pattern="cl100k", special_tokens=[SPECIAL])
    trainer.feed_files(texts)
    other = BpeTrainer(pattern="cl100k", special_tokens=[SPECIAL])
    counts = on_ray.count(texts, pattern="cl100k", special_tokens=[SPECIAL], part_bytes=8000)
    other.add_counts(counts)
    assert counts.items() == trainer.counts.items()
    assert other.train(600).merges == trainer.train(600).merges


class Deadly:
    """A tokenizer that kills the worker which is about to encode with it, as often as it says."""

    def __init__(self, tokenizer, folder, times):
        self.tokenizer, self.folder, self.driver, self.looks = tokenizer, folder, os.getpid(), 0
        for i in range(times):
            (folder / f"kill-{i}").touch()

    @property
    def vocabulary(self):
        self.looks += 1
        # The first look is the check that the worker is fit.
        if os.getpid() != self.driver and self.looks > 1:
            for mark in sorted(self.folder.glob("kill-*")):
                mark.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)
        return self.tokenizer.vocabulary


def test_the_shards_of_one_machine_though_workers_die(cluster, texts, tmp_path, tokenizer):
    tokenizer.encode_files(texts, tmp_path / "one", **OPTIONS)
    ray.cloudpickle.register_pickle_by_value(__import__(Deadly.__module__, fromlist=["Deadly"]))
    kills = tmp_path / "kills"
    kills.mkdir()
    deadly = Deadly(tokenizer, kills, times=2)
    on_ray.encode(texts, deadly, tmp_path / "ray", part_bytes=20_000, **OPTIONS)
    assert list(kills.iterdir()) == []
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


def test_a_dataset(cluster, tmp_path, tokenizer):
    data = pytest.importorskip("ray.data", reason="ray[data] is not installed")
    documents = [f"{generated_text(i, 80)} {i}" for i in range(60)]
    rows = [{"text": text} for text in [*documents[:30], None, "", *documents[30:]]]
    dataset = data.from_items(rows, override_num_blocks=7)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trainer = BpeTrainer(special_tokens=[SPECIAL])
    trainer.feed(documents)
    counts = on_ray.count(dataset, special_tokens=[SPECIAL], part_bytes=4000)
    assert counts.items() == trainer.counts.items()
    options = {**OPTIONS, "shard_tokens": 1500}
    tokenizer.encode_files(tmp_path / "a.jsonl", tmp_path / "one", **options)
    manifest = on_ray.encode(dataset, tokenizer, tmp_path / "ray", part_bytes=4000, **options)
    one, ray_ = contents(tmp_path / "one"), contents(tmp_path / "ray")
    assert (
        json.loads(one.pop("manifest.json"))["splits"]
        == json.loads(ray_.pop("manifest.json"))["splits"]
    )
    assert one == ray_
    assert manifest.inputs == [{"path": "ray.data.Dataset", "size": 0, "crc32": None}]
    with pytest.raises(ValueError, match=r"text_column='no': .* there are: 'text'"):
        on_ray.count(dataset, text_column="no")


def test_what_a_worker_raises(cluster, texts, tmp_path, tokenizer, monkeypatch):
    with (texts / "b.jsonl").open("a") as file:
        file.write('\n{"no": 1}')
    with pytest.raises(ValueError, match=r"b\.jsonl:61: no column 'text'") as caught:
        on_ray.count(texts, part_bytes=8000)
    assert type(caught.value) is ValueError
    monkeypatch.setattr(bytemill, "__version__", "9.9")
    with pytest.raises(on_ray.ClusterError, match=r"and the driver 9\.9; install that"):
        on_ray.encode(texts, tokenizer, tmp_path / "out")


def test_a_worker_that_dies_each_time(cluster, texts, tmp_path, tokenizer):
    kills = tmp_path / "kills"
    kills.mkdir()
    with pytest.raises(on_ray.ClusterError, match="a Ray worker died, and so did each"):
        on_ray.encode(texts / "a.txt", Deadly(tokenizer, kills, 2), tmp_path / "out", max_retries=0)
    on_ray.encode(texts / "a.txt", Deadly(tokenizer, kills, 0), tmp_path / "out")
    tokenizer.encode_files(texts / "a.txt", tmp_path / "one")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_more_cpus_than_any_node_has(cluster, texts, monkeypatch):
    monkeypatch.setattr(tasks, "LARGER_NODE_S", 1.0)
    message = "num_cpus=2: no node of the cluster has as many; the largest has 1"
    with (
        pytest.warns(RuntimeWarning, match=message),
        pytest.raises(on_ray.ClusterError, match=f"{message}, .* pass num_cpus=1, or start a node"),
    ):
        on_ray.count(texts, num_cpus=2)


def test_a_node_that_is_lost(cluster, tmp_path):
    """With counts on it that are too large to be kept by the driver."""
    rng = random.Random(5)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(60_000)]
    for i in range(10):
        (tmp_path / f"{i}.txt").write_text(" ".join(rng.choices(words, k=12_000)))
    trainer = BpeTrainer()
    trainer.feed_files(tmp_path)
    lost = []

    def lose(done, total):
        if not lost and done >= total // 2:
            lost.append(cluster.other)
            cluster.remove_node(cluster.other, allow_graceful=False)

    counts = on_ray.count(tmp_path, part_bytes=100_000, progress=lose)
    assert lost
    assert counts.total == trainer.counts.total
    assert counts.items() == trainer.counts.items()
