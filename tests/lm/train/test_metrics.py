"""A run's figures: what is written, what a kill leaves, and what trackers are told."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bytemill.lm.train.metrics import FILE, MetricsLog, plot, read_metrics


def test_lines_of_later_steps_come_again(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.log(step, {"loss": float(step)})
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"step": 4, "lo')  # cut short by a kill
    assert [row["step"] for row in read_metrics(tmp_path / FILE)] == [1, 2, 3]
    with MetricsLog(tmp_path, resume_at=2) as log:
        log.log(3, {"loss": 0.5})
    rows = read_metrics(tmp_path / FILE)
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 0.5)]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: b'nonsense' is no JSON"):
        read_metrics(tmp_path / FILE)


class FakeRun:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.is_finished = False

    def log(self, figures: dict[str, Any], step: int) -> None:
        self.logged.append((step, figures))

    def finish(self) -> None:
        self.is_finished = True


def test_wandb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, given = FakeRun(), {}

    def init(**arguments: Any) -> FakeRun:
        given.update(arguments)
        return run

    fake = types.ModuleType("wandb")
    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with MetricsLog(tmp_path, wandb="mine", config={"steps": 5}) as log:
        log.log(1, {"loss": 2.0})
    assert given["project"] == "mine" and given["config"] == {"steps": 5}
    assert run.logged == [(1, {"loss": 2.0})] and run.is_finished


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("wandb", {"wandb": "mine"}), ("torch.utils.tensorboard", {"tensorboard": True})],
)
def test_a_tracker_that_is_not_installed(
    module: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="it is not installed; pip install"):
        MetricsLog(tmp_path, **arguments)


def test_tensorboard_gets_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with MetricsLog(tmp_path, tensorboard=True) as log:
        log.log(1, {"loss": 2.0, "note": "words are for the file alone"})
    (events,) = (tmp_path / "tensorboard").iterdir()
    data = events.read_bytes()
    assert b"loss" in data and b"note" not in data


def test_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with MetricsLog(tmp_path) as log:
        assert plot(tmp_path) is None
        log.log(1, {"tokens": 10, "loss": 2.0})
        log.log(1, {"tokens": 10, "val_loss": 2.5})
    picture = plot(tmp_path)
    assert picture is not None and picture.read_bytes().startswith(b"\x89PNG")
