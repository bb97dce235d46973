"""What programs say of time to come, and of the next command."""

import io
import sys

import pytest

pytest.importorskip("torch")

from bytemill.cli.demo.program import command
from bytemill.cli.progress import Progress, duration
from bytemill.cli.train import time_rows


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3599, "1 h"),
        (3 * 3600 + 300, "3 h 5 min"),
        (86_400, "1 day"),
        (100_800, "1 day 4 h"),
        (3e6, "34 days 17 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_only_long_runs_are_estimated():
    assert time_rows(60) == []
    assert time_rows(3900) == [("time", "about 1 h 5 min, estimated from the device's speed")]


def test_the_callers_time_left_is_shown(monkeypatch):
    monkeypatch.setattr("bytemill.cli.progress.LINE_S", 0.0)
    stream = io.StringIO()
    bar = Progress("train", "steps", stream)
    bar.update(5, 10, "note", 3723.0)
    bar.update(0, 10, "note", 60.0)
    lines = stream.getvalue().splitlines()
    assert "1:02:03 left  note" in lines[0]
    assert "0 of 10 steps  1:00 left" in lines[1]


@pytest.mark.parametrize(
    ("has_program", "on_path", "expected"),
    [
        (False, False, ".venv/bin/python -m bytemill generate"),
        (True, False, ".venv/bin/bytemill generate"),
        (True, True, "bytemill generate"),
    ],
)
def test_the_next_command_can_be_pasted(has_program, on_path, expected, tmp_path, monkeypatch):
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ["python", "bytemill"][: 1 + has_program]:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(programs) if on_path else str(tmp_path))
    assert command("generate") == expected
