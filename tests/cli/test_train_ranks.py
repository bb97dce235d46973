"""`bytemill train` under torchrun: on one node, and on two that lose each other."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.train.metrics import read_metrics
from tests.support.lm_runs import config, make_ids

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="torchrun's processes are killed")

# `bytemill train`, whose rank 1 is killed after a step the first time that it is started.
WORKER = """
import contextlib, os, signal, sys
from bytemill.lm.train.steps.pace import Pace
from bytemill.cli.main import main

# It draws when it ends, and torchrun gives it half a minute for that.
with contextlib.suppress(ImportError):
    import matplotlib.backends.backend_agg, matplotlib.figure

stepped = Pace.stepped

def killed(self, *timed):
    stepped(self, *timed)
    if self.step == 15:
        os.kill(os.getpid(), signal.SIGKILL)

if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    Pace.stepped = killed
sys.exit(main(["train", "--config", sys.argv[1]]))
"""


# On a machine that is very busy its silence is noticed before its closed connections are.
LOST = r"has (died|given no sign of life for \d+ s)"
# Each round of torchrun's meeting tells its address anew (docs/ranks.md).
SHARED = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def torchrun(*args, **variables):
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, args)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_rank_that_is_killed_is_told_of_and_torchrun_goes_on(tmp_path):
    make_ids(tmp_path)
    config(tmp_path, steps=20, checkpoint_every=10).save(tmp_path / "config.json")
    (tmp_path / "worker.py").write_text(WORKER)
    process = torchrun(
        "--standalone", "--nproc-per-node", 2, "--max-restarts", 3, tmp_path / "worker.py",
        tmp_path / "config.json",
    )  # fmt: skip
    out, errors = process.communicate(timeout=900)
    # Without torchrun's own report at the end, which does not say what a process has said.
    assert process.returncode == 0, errors.split("Traceback (most recent call last):")[0][-4000:]
    assert re.search(rf"^error: rank 0 ends: rank 1 {LOST}$", errors, re.MULTILINE), errors
    assert re.search(r"^goes on +from step 10$", out, re.MULTILINE), out
    # Rank 0 alone prints and logs: nothing is there twice.
    assert out.count("step 20: saved") == 1
    assert out.count("step 10: saved") == 1
    steps = [row["step"] for row in read_metrics(tmp_path / "run/metrics.jsonl") if "loss" in row]
    assert steps == list(range(1, 21))


@pytest.mark.skipif(
    "BYTEMILL_SLOW_TESTS" not in os.environ, reason="takes minutes: set BYTEMILL_SLOW_TESTS"
)
def test_two_nodes_go_on_after_one_was_lost_and_came_back(tmp_path):
    make_ids(tmp_path)
    settings = config(tmp_path, steps=4000, checkpoint_every=50, keep_last=2, log_every=1)
    settings.save(tmp_path / "config.json")
    # They meet at a store that is there already: a port that was found free might be another's by
    # the time that a node listens.
    meeting = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    nodes = [
        torchrun(
            "--nnodes", 2, "--nproc-per-node", 1, "--max-restarts", 3, "--rdzv-id", "nodes",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{meeting.port}",
            "--rdzv-conf", "is_host=0", "-m", "bytemill", "train", "--config",
            tmp_path / "config.json", "--resume", **SHARED,
        )
        for _ in (0, 1)
    ]  # fmt: skip
    store = CheckpointStore(tmp_path / "run")
    try:
        wait_for(lambda: store.steps(), nodes)
        assert kill_with_workers(nodes[1].pid) == 1
        lost_at, seen = time.monotonic(), store.steps()[-1]
        nodes[1].communicate()
        nodes[1] = torchrun(*nodes[1].args[3:], **SHARED)
        wait_for(lambda: store.steps()[-1] > seen + 50, nodes)
        print(f"went on {time.monotonic() - lost_at:.0f} s after a node was lost")
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        texts = [node.communicate(timeout=120) for node in nodes]
    assert any(re.search(LOST, errors) for _, errors in texts), texts
    assert any(re.search(r"^goes on +from step", out, re.MULTILINE) for out, _ in texts), texts


def wait_for(is_there, nodes, seconds=600):
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline
        for node in nodes:
            assert node.poll() is None, node.communicate()
        time.sleep(0.2)


def kill_with_workers(agent):
    """An agent and the processes that it has started, as if their machine were gone."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == agent:
            children.append(int(folder.name))
    for process in (agent, *children):
        os.kill(process, signal.SIGKILL)
    return len(children)
