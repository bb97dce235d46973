"""`python -m scripts.train`, run as a user runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from bytemill.cli import train
from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.model.cost.accounting import training_flops_per_token
from bytemill.lm.train import TrainConfig
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.model_settings import model_config
from tests.support.lm_runs import config, make_ids, make_shards

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def command(*args):
    return [sys.executable, "-m", "scripts.train", *map(str, args)]


def saved(folder, **changes):
    path = folder / "c.json"
    config(folder, **changes).save(path)
    return path


def test_from_shards_to_a_model(tmp_path):
    make_shards(tmp_path)
    done = subprocess.run(
        command(
            "--data", tmp_path / "shards", "--tokenizer", tmp_path / "tokenizer", "--out",
            tmp_path / "run", "--depth", 1, "--context-length", 16, "--batch-size", 4, "--steps",
            12, "--eval-every", 6, "--eval-tokens", 128, "--sample-every", 12, "--sample-tokens", 5,
            "--sample-prompt", "the cat", "--threads", 1, "--device", "cpu",
        ),
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in (
        r"^model +84,992 parameters: 1 layer, width 64, 1 head, vocabulary 280$",
        r"^batch +4 x 16 = 64 tokens, 4 rows at a time$",
        r"^horizon +12 steps, 768 tokens, \d[.\d]*e8 FLOPs$",
        r"^learning +muon, rates used: embedding 0.346, head 0.00693, matrices 0.01$",
        r"^scaling +AdamW's defaults x 3.46 for the width, all defaults x 0.5 for the batch; given",
        r"^epochs +\d[\d.]*: how often the data is read$",
        r"^device +cpu, (float32|bfloat16)$",
        r"^step 6: validation loss \d\.\d{4}, \d\.\d{4} bits per byte, the best so far$",
        r"^step 12: sample 'the cat.*'$",
        r"^step 12: saved .*step-00000012$",
        r"^checkpoint +.*step-00000012$",
    ):
        assert re.search(line, done.stdout, re.MULTILINE), (line, done.stdout)
    assert not re.search(r"^time ", done.stdout, re.MULTILINE)  # it is short
    assert "\r" not in done.stderr
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_lines_where_there_is_no_terminal(tmp_path, capsys, monkeypatch):
    make_ids(tmp_path)
    monkeypatch.setattr("bytemill.cli.progress.LINE_S", 0.0)
    path = saved(tmp_path)
    assert train.main(["--config", str(path), "--peak-flops", "1e9"]) == 0
    # On a busy machine a step may take seconds, and tells of its rows.
    lines = [line for line in capsys.readouterr().err.splitlines() if " rows" not in line]
    assert len(lines) == 6
    figures = (
        r"train: +\d+%  \d of 6 steps  \d+:\d\d left  loss \d\.\d{3}  [\d,]+ tok\S+  [\d.]+% M"
    )
    assert all(re.match(figures, line) for line in lines), lines
    settings = TrainConfig.load(path)
    flops = training_flops_per_token(model_config(settings.model, 64))
    for row in read_metrics(tmp_path / "run" / "metrics.jsonl")[1:]:
        # Tokens are rounded, which on a busy machine is much of them.
        assert row["mfu"] * 1e9 / flops == pytest.approx(row["tokens_per_second"], abs=0.501)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal_and_ctrl_c_and_resume(tmp_path):
    import pty

    make_ids(tmp_path)
    path = saved(tmp_path, steps=100_000, log_every=1000)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("--config", path), cwd=ROOT, env=ENVIRONMENT, stderr=follower,
        stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    os.close(follower)
    drawn = b""
    while drawn.count(b"tokens/s") < 3 and process.poll() is None:
        drawn += os.read(leader, 1 << 16)
    process.send_signal(signal.SIGINT)
    try:  # to its end first: a terminal that nobody reads holds up who draws
        while more := os.read(leader, 1 << 16):
            drawn += more
    except OSError:  # how Linux says that the other end is closed
        pass
    out, _ = process.communicate(timeout=300)
    os.close(leader)
    assert process.returncode == 130
    assert re.search(rb"\rtrain .*\d of 100,000 steps  .*left  loss \d\.\d+  [\d,]+ tok", drawn)
    store = CheckpointStore(tmp_path / "run")
    (step,) = store.steps()
    told = f"interrupted: saved at step {step}; to go on, add --resume"
    assert drawn.decode().splitlines()[-1].endswith(told)
    assert b"finishing this step; press again to stop now" in drawn
    assert f"step {step:,}: saved" in out
    # It goes on by itself, with flags that may change.
    assert store.last().extra["config"]["schedule"]["steps"] == 100_000
    assert train.main(["--resume", "--out", str(tmp_path / "run"), "--steps", "5"]) == 2


def test_resume_takes_the_runs_own_configuration(tmp_path, capsys):
    make_ids(tmp_path)
    assert train.main(["--config", str(saved(tmp_path))]) == 0
    path = CheckpointStore(tmp_path / "run").path(6)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    capsys.readouterr()
    assert train.main(["--resume", "--out", str(tmp_path / "run"), "--log-every", "2"]) == 0
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [2, 4, 6]
    assert TrainConfig.load(tmp_path / "run" / "config.json").run.log_every == 2
    assert train.main(["--resume", "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"^goes on +from step 6$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--out", "x"], "--data: missing"),
        (["--data", "none.npy", "--out", "{}/r"], "none.npy: no such"),
        (["--config", "none.json"], "none.json: no such file"),
        (["--resume", "--out", "{}/none"], "none: there is no such folder, so no run to resume"),
        (["--data", "{}/ids.npy", "--out", "{}/none", "--resume"], "leave out --resume"),
        (["--resume", "--out", "{}/frist"], "did you mean first?"),
        (["--data", "{}/ids.npy", "--out", "{}/other"], "the folder holds 'mine.txt' and no run"),
        (
            ["--data", "{}/ids.npy", "--out", "{}/r", "--batch-size", "1000000000000"],
            "that is 512,000,000,000,000 ids; a batch has at most 268,435,456",
        ),
        (["--data", "{}/ids.npy", "--out", "{}/r", "--depth", str(10**12)], "at most 10,000"),
        (["--data", "{}/ids.npy", "--out", "{}/r", "--d-model", str(10**12)], "at most 10,000,000"),
        (
            ["--data", "{}/ids.npy", "--out", "{}/r", "--depth", "0"],
            "--depth 0: it must be at",
        ),
        (["--data", "{}/ids.npy", "--out", "{}/ids.npy"], "exists and is not a folder"),
        (["--data", "{}/ids.npy", "--out", "{}/r", "--context-length", "5000"], "needs 5001"),
        (["--data", "{}/ids.npy", "--out", "{}/r", "--device", "gpu"], '"cuda", "cuda:N"'),
        (["--data", "{}/ids.npy", "--out", "{}/r", "--sample-every", "1"], "need a tokenizer"),
    ],
)
def test_errors_are_one_line(args, words, tmp_path, capsys):
    make_ids(tmp_path)
    for name in ("other/mine.txt", "first/config.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    assert train.main([arg.replace("{}", str(tmp_path)) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), "Traceback" in err) == ("", 1, False)
    assert words in err
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"ids.npy", "other", "first"}, "nothing is written"
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "args", [["--no-such"], ["--dept", "3"], ["--steps", "many"], ["--preset", "llama"]]
)
def test_flags_are_checked(args, capsys):
    with pytest.raises(SystemExit) as raised:
        train.main(["--data", "x", "--out", "y", *args])
    assert raised.value.code == 2
    assert args[0] in capsys.readouterr().err
