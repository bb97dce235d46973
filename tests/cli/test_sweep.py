"""`bytemill sweep`: many runs, one table, one plot."""

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.train import Trainer, events
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.sweep import outcome_of, variants
from tests.support.lm_runs import config, make_ids
from tests.support.programs import call, command, is_one_line


@pytest.fixture
def folder(tmp_path):
    make_ids(tmp_path)
    config(tmp_path, val_data=str(tmp_path / "ids.npy"), steps=3).save(tmp_path / "base.json")
    return tmp_path


def sweep(capsys, folder, *words):
    return call(capsys, "sweep", "--config", folder / "base.json", "--out", folder / "out", *words)


BOTH = ("--vary", "matrix_lr=0.01,0.02", "--vary", "n-layer=1,2")


def test_a_cross_product_with_one_table_and_one_plot(folder, capsys):
    status, out, err = sweep(capsys, folder, *BOTH)
    assert status == 0, err
    assert re.findall(r"^run (\d) of 4: (.*)$", out, re.MULTILINE) == [
        ("1", "matrix_lr 0.01, n_layer 1"), ("2", "matrix_lr 0.01, n_layer 2"),
        ("3", "matrix_lr 0.02, n_layer 1"), ("4", "matrix_lr 0.02, n_layer 2"),
    ]  # fmt: skip
    results = json.loads((folder / "out" / "sweep.json").read_text())
    assert [r["val_loss"] for r in results] == sorted(r["val_loss"] for r in results)
    assert len({r["val_loss"] for r in results}) == 4, "the runs differ"
    lines = out.splitlines()
    at = next(i for i, line in enumerate(lines) if "parameters" in line and "val loss" in line)
    for line, result in zip(lines[at + 1 :], results, strict=False):
        cells = line.split()
        assert cells[:2] == [str(result["fields"][n]) for n in ("matrix_lr", "n_layer")]
        assert f"{result['val_loss']:.4f}" in cells and f"{result['n_params']:,}" in cells
    assert (folder / "out" / "loss.png").read_bytes()[1:4] == b"PNG"
    # One of them, by itself, is the same run.
    last = results[-1]
    fields = {"val_data": str(folder / "ids.npy"), "steps": 3, **last["fields"]}
    alone = Trainer(config(folder, out=str(folder / "alone"), **fields)).run()
    assert alone.validation.loss == last["val_loss"]


def test_what_is_done_is_not_made_again(folder, capsys):
    sweep(capsys, folder, "--vary", "matrix_lr=0.01,0.02")
    before = {p: p.stat().st_mtime_ns for p in (folder / "out").glob("*/metrics.jsonl")}
    status, out, _ = sweep(capsys, folder, "--vary", "matrix_lr=0.02,0.03,0.01")
    assert status == 0
    assert re.findall(r"run \d of 3: matrix_lr (\S+?)(:| |$)", out, re.MULTILINE)[0][0] == "0.02"
    assert out.count("done before") == 2 and out.count("goes on") == 0
    after = {p: p.stat().st_mtime_ns for p in (folder / "out").glob("*/metrics.jsonl")}
    assert len(after) == 3 and before.items() <= after.items()
    # Another base is another run, though the varied field is the same.
    assert sweep(capsys, folder, "--vary", "matrix_lr=0.01", "--seed", 7)[0] == 0
    assert len(list((folder / "out").glob("matrix_lr=0.01-*"))) == 2


def test_a_run_that_was_stopped_goes_on(folder, capsys):
    (one,) = variants(
        config(folder, val_data=str(folder / "ids.npy"), steps=3).flat(), {"seed": [5]},
        folder / "out",
    )  # fmt: skip

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 2:
            trainer.stop()

    trainer = Trainer(one.config, on_event=listen)
    trainer.run()
    assert outcome_of(one) is None
    status, out, _ = sweep(capsys, folder, "--vary", "seed=5")
    assert status == 0 and re.search(r"^goes on +from step 2$", out, re.MULTILINE)
    assert outcome_of(one).steps == 3
    assert CheckpointStore(one.folder).steps() == [2, 3]


def test_a_run_that_diverges_is_an_outcome(folder, capsys):
    words = ("--vary", "matrix_lr=1e38,0.01", "--warmup-steps", "0")
    status, out, _ = sweep(capsys, folder, *words)
    assert status == 0
    bad = json.loads((folder / "out" / "sweep.json").read_text())[-1]
    assert bad["fields"] == {"matrix_lr": 1e38} and "step" in bad["diverged"]
    assert re.search(r"^ +1e\+38 .*diverged", out, re.MULTILINE)
    status, out, _ = sweep(capsys, folder, *words)
    assert (status, out.count("done before")) == (0, 2)


# A program that is told to end in the third step of its first run.
ENDED = """
import os, signal, sys
from bytemill.lm.train.steps.pace import Pace

stepped = Pace.stepped

def ending(self, *timed):
    stepped(self, *timed)
    if self.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)

Pace.stepped = ending
from bytemill.cli.main import main

sys.exit(main())
"""


def test_ctrl_c_ends_it_and_the_same_command_goes_on(folder, capsys):
    words = command(
        "sweep", "--config", folder / "base.json", "--out", folder / "out", "--steps", 20,
        "--vary", "seed=1,2",
    )  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", ENDED, *words[3:]], capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 130, ended.stderr
    assert "0 of 2 runs are done" in ended.stderr and "the same command goes on" in ended.stderr
    status, _, err = call(capsys, *words[3:])
    assert status == 0, err
    runs = sorted((folder / "out").glob("seed=*"))
    assert [read_metrics(run / "metrics.jsonl")[-1]["step"] for run in runs] == [20, 20]


BAD = [
    (["matrix_lrr=1"], ["--vary 'matrix_lrr=1'", "no field matrix_lrr; did you mean matrix_lr?"]),
    (["n_layer"], ["--vary 'n_layer'", "as in 'n_layer=2,4'"]),
    (["n_layer=2,x"], ["--vary 'n_layer=2,x'", "'x' must be an integer"]),
    (["n_layer=2,0"], ["--vary 'n_layer=2,0'", "'0'", "at least 1"]),
    (["schedule=flat"], ["'flat'", "one of 'linear', 'cosine', 'constant'"]),
    (["qk_norm=maybe"], ["'maybe' must be true or false"]),
    (["seed=1,1"], ["the value 1 is there twice"]),
    (["seed=1", "--vary", "seed=2"], ["seed is varied twice"]),
    (["out=a,b"], ["cannot be varied"]),
    (["n_head=2,5"], ["n_head 5: --d-model 32 does not divide among --n-head 5"]),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda x: str(x[0]))
def test_bad_input_before_anything_is_made(folder, capsys, words, said):
    status, out, err = sweep(capsys, folder, "--vary", *words)
    assert (status, out) == (2, "")
    is_one_line(err, *said)
    assert not (folder / "out").exists()


def test_a_field_that_is_missing(folder, capsys):
    status, _, err = call(capsys, "sweep", "--vary", "seed=1", "--out", folder / "out")
    assert status == 2
    is_one_line(err, "--data: missing")
