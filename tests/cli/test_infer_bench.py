"""`bytemill infer-bench`: a table, and JSON on the last line."""

import json

import pytest

pytest.importorskip("torch")

from bytemill.lm.generate import speed
from tests.support.chat_runs import make_chat_run
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call, is_one_line


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A device that is tried out in no time."""
    monkeypatch.setattr(speed, "_COPIED", {"cpu": 1 << 20})
    monkeypatch.setattr(speed, "_SIZE", {"cpu": 64})


def test_table_and_json(tmp_path, capsys):
    run = make_chat_run(tmp_path / "talker")
    words = ("--device", "cpu", "--batch-sizes", 1, "--batch-sizes", 3, "--runs", 1)
    status, out, err = call(capsys, "infer-bench", run, *words)
    assert (status, err) == (0, "")
    *table, last = out.splitlines()
    found = json.loads(last)
    assert (found["prompt_tokens"], found["new_tokens"]) == (80, 40)  # of a context of 160
    speeds = found["speeds"]
    expected = [("prefill", 1), ("decode", 1), ("prefill", 3), ("decode", 3)]
    assert [(one["phase"], one["batch_size"]) for one in speeds] == expected
    for one, line in zip(speeds, table[-4:], strict=True):
        assert one["share"] == one["tokens_per_second"] / one["limit"] > 0
        phase, rows, *_, share, _, bound = line.split()
        assert (phase, rows, bound) == (one["phase"], str(one["batch_size"]), one["bound"])
        assert share == f"{100 * one['share']:.0f}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--batch-sizes", 4, 0), "--batch-sizes 0"),
        (("--runs", -1), "--runs -1"),
        (("--prompt", 150, "--tokens", 20), "--prompt 150 and --tokens 20"),
    ],
)
def test_bad_input(words, told, tmp_path, capsys):
    run = make_chat_run(tmp_path / "talker")
    status, out, err = call(capsys, "infer-bench", run, "--device", "cpu", *words)
    assert (status, out) == (2, "")
    is_one_line(err, told)
