"""runs/*.sh in miniature: from text to a report, killed on the way and started again."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

pytest.importorskip("torch")

from tests.support.lm_runs import documents
from tests.support.programs import ROOT
from tests.support.warm import warm_python

pytestmark = [
    pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash"),
    pytest.mark.skipif(os.name == "nt", reason="needs process groups"),
]

# Where a test wants it, the first `bytemill sft` kills all that the script started, in its third
# step.
KILLED = """
import os, signal
from pathlib import Path

from bytemill.lm.train.steps.pace import Pace

mark, stepped = os.environ.get("KILLED_ONCE"), Pace.stepped

def killed(self, *timed):
    stepped(self, *timed)
    if self.step == 3:
        Path(mark).touch()
        os.killpg(group, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

if mark and words[1:3] == ["bytemill", "sft"] and not Path(mark).exists():
    Pace.stepped = killed
"""
COMMON = "--steps 4 --batch-size 2 --checkpoint-every 1 --device cpu --dtype float32 --threads 1"
TASKS = "0.5=arithmetic; 0.5=identity"


def settings(folder, python, **changes):
    """The environment of a run of seconds."""
    text = folder / "text"
    text.mkdir()
    (text / "a.txt").write_text("<|bos|>".join(["", *documents()]))
    shape = "--n-layer 1 --d-model 32 --n-head 1 --context-length 128 --eval-tokens 256"
    stage = "--eval-tokens 256 --ask-every 0 --rows best-fit"
    rl = "--questions 2 --samples 2 --max-new-tokens 4 --eval-problems 2 --eval-samples 2"
    return {
        **os.environ,
        "PYTHON": str(python),
        "PYTHON_EXEC": str(python),  # torchrun's
        "OUT": str(folder / "run"),
        "TEXT": str(text),
        "CHAT_DATA": str(folder),
        "VOCAB_SIZE": "280",
        "DEPTH": "1",
        "BASE": f"{COMMON} {shape}",
        "MID": f"{COMMON} {stage} --tasks identity",
        "SFT": f"{COMMON} {stage} --tasks identity",
        "RL": f"{COMMON} {rl} --tasks arithmetic".replace("--batch-size 2 ", ""),
        "EVAL": "--tasks arithmetic identity --max-items 2 --max-new-tokens 4 --device cpu",
        **changes,
    }


def start(name, environment):
    return subprocess.Popen(
        ["bash", ROOT / "runs" / name],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(name, environment):
    """What the script prints, once it has ended well."""
    run = start(name, environment)
    said, _ = run.communicate(timeout=3000)
    assert run.returncode == 0, said
    return said


def stages(folder):
    report = json.loads((folder / "run" / "report" / "report.json").read_text())
    return {run["stage"]: run for run in report["runs"]}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    with warm_python(tmp_path_factory.mktemp("python"), KILLED) as program:
        yield program


def test_killed_and_started_again(tmp_path, python):
    environment = settings(tmp_path, python, MINUTES="30", KILLED_ONCE=str(tmp_path / "killed"))
    killed = start("cpu.sh", environment)
    killed.communicate(timeout=3000)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "steps" / "sft").exists()
    said = finished("cpu.sh", environment)
    assert "== base: done before" in said and "== sft: bytemill sft" in said
    assert re.search(r"^goes on +from step [12]$", said, re.MULTILINE), said
    told = stages(tmp_path)
    assert list(told) == ["base", "sft", "rl"]
    assert {run["steps"] for run in told.values()} == {4}
    assert set(told["rl"]["scores"]) >= {"arithmetic", "identity"}
    # All is done: nothing is done again, and other settings are not mixed with these.
    again = finished("cpu.sh", environment)
    assert again.count("done before") == said.count("== ")
    other = start("cpu.sh", {**environment, "SFT": environment["SFT"] + " --seed 1"})
    refused, _ = other.communicate(timeout=3000)
    assert other.returncode == 2 and "error: step sft was done as:" in refused


def test_on_two_ranks(tmp_path, python):
    finished("speedrun.sh", settings(tmp_path, python, GPUS="2"))
    told = stages(tmp_path)
    assert list(told) == ["base", "mid", "sft", "rl"]
    assert all("2 processes" in run["machine"] for run in told.values())
    assert set(told["mid"]["scores"]) == {"arithmetic", "identity"}


def test_the_recipe_of_2026(tmp_path, python):
    environment = settings(tmp_path, python)
    environment["BASE"] = environment["BASE"].replace("--d-model 32 --n-head 1 ", "")
    finished("one_gpu.sh", environment)
    told = stages(tmp_path)
    assert list(told) == ["base", "sft", "rl"]
