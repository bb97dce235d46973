"""`bytemill mid-train` and `sft`: from a base model to answers, in one chain of commands."""

import json

import pytest

pytest.importorskip("torch")

from bytemill.cli.stages.sft import parser
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call, is_one_line
from tests.support.stage_runs import make_base

SMALL = (
    "--batch-size", 2, "--device", "cpu", "--dtype", "float32", "--threads", 1,
    "--eval-tokens", 128, "--ask-items", 2,
)  # fmt: skip
TASKS = "identity[:60]; spelling[:30]; counting[:30]; arithmetic[:30]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    make_base(folder, steps=1)
    return folder


def test_a_chain_of_commands(folder, capsys):
    status, out, err = call(
        capsys, "mid-train", "--init-from", folder / "base", "--tasks", TASKS, "--out",
        folder / "mid", *SMALL, "--steps", 3,
    )  # fmt: skip
    assert status == 0, err
    assert "validation" in out and str(folder / "mid" / "checkpoints" / "step-00000003") in out
    assert "cut from one stream of conversations" in out and "step 3: asked identity" in out
    sft = "sft", "--init-from", folder / "mid", "--tasks", TASKS, "--rows", "best-fit", "--out"
    status, out, err = call(capsys, *sft, folder / "sft", *SMALL, "--steps", 3, "--sample-every", 2)
    assert status == 0, err
    assert "whole conversations that fit best" in out and "step 2: sample" in out
    # What there is, is not made again; with --resume it goes on, by the run's own configuration.
    status, out, err = call(capsys, *sft, folder / "sft", *SMALL)
    assert status == 2
    is_one_line(err, "there is a run in this folder already, at step 3", "--resume")
    status, out, err = call(capsys, "sft", "--out", folder / "sft", "--resume", "--steps", 5)
    assert status == 0 and "goes on" in out and "step-00000005" in out
    status, out, err = call(
        capsys, "chat-eval", "--model", folder / "sft", "--tasks", "identity", "arithmetic",
        "--max-items", 3, "--max-new-tokens", 8, "--json",
    )  # fmt: skip
    assert status == 0, err
    assert json.loads(out)["tasks"]["arithmetic"]["items"] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--out", "{}/x"], ["--init-from: missing"]),
        (["--init-from", "{}/base"], ["--out: missing"]),
        (["--init-from", "{}/none", "--out", "{}/x"], ["no checkpoint is there"]),
        (
            ["--init-from", "{}/base", "--out", "{}/x", "--data", "{}/none"],
            ["ai2_arc", "bytemill download hf:allenai/ai2_arc"],
        ),
        (
            ["--init-from", "{}/base", "--out", "{}/x", "--tasks", "humaneval"],
            ["--tasks", "for the final table only"],
        ),
        (
            ["--init-from", "{}/base", "--out", "{}/x", "--tasks", "0.5=identity"],
            ["--epochs", "give --steps"],
        ),
        (
            ["--init-from", "{}/base", "--out", "{}/x", "--tasks", "identity", "--replay", "x"],
            ["--replay", "0.1=runs/base"],
        ),
        (["--resume", "--out", "{}/none"], ["there is no such folder"]),
    ],
)
def test_wrong_words(given, said, folder, capsys):
    status, out, err = call(capsys, "sft", *[word.format(folder) for word in given])
    assert (status, out) == (2, "")
    is_one_line(err, *said)
    assert not (folder / "x").exists()


def test_flags_that_stages_do_not_have(capsys):
    for flag in ("--flops", "--tokens-per-parameter", "--optimizer", "--depth", "--lr-batch-least"):
        with pytest.raises(SystemExit):
            parser().parse_args([flag, "1"])
        assert "unrecognized arguments" in capsys.readouterr().err
