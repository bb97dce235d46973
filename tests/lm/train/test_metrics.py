"""A run's figures: what is written, what a kill leaves, and what trackers are told."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bytemill.lm.train.metrics import FILE, MetricsLog, read_metrics
from bytemill.lm.train.plot import plot


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
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: b'nonsense' is not a JSON"):
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
    begun = given["id"]
    with MetricsLog(tmp_path, wandb="mine", resume_at=1):
        assert (given["id"], given["resume"]) == (begun, "allow")
    with MetricsLog(tmp_path, wandb="mine"):
        assert given["id"] != begun, "a new run is another one there"


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


def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is drawn from now on: the curves by their names, and the texts at the x axis."""
    figure = pytest.importorskip("matplotlib.figure")
    found: dict[str, Any] = {}
    save = figure.Figure.savefig

    def savefig(self: Any, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        (axes,) = self.axes
        found["curves"] = {
            line.get_label(): [tuple(point) for point in line.get_xydata().tolist()]
            for line in axes.lines
        }
        found["colors"] = [line.get_color() for line in axes.lines]
        found["ticks"] = [label.get_text() for label in axes.get_xticklabels()]

    monkeypatch.setattr(figure.Figure, "savefig", savefig)
    return found


def test_several_runs_in_one_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = drawn(monkeypatch)
    for name, loss in (("a", 2.0), ("b", 3.0)):
        (tmp_path / name).mkdir()
        with MetricsLog(tmp_path / name) as log:
            for step in (1, 2):
                log.log(step, {"tokens": 10_000 * step, "loss": loss / step})
            log.log(2, {"tokens": 20_000, "val_loss": loss})
    picture = plot([tmp_path / "a", tmp_path / "b"], tmp_path / "both.png")
    assert picture == tmp_path / "both.png" and picture.read_bytes().startswith(b"\x89PNG")
    assert found["curves"] == {
        "a, training": [(10_000, 2.0), (20_000, 1.0)],
        "a, validation": [(20_000, 2.0)],
        "b, training": [(10_000, 3.0), (20_000, 1.5)],
        "b, validation": [(20_000, 3.0)],
    }
    assert found["colors"] == ["C0", "C0", "C1", "C1"]
    assert "10,000" in found["ticks"]


def test_lines_have_the_time(tmp_path: Path) -> None:
    before = time.time()
    with MetricsLog(tmp_path) as log:
        log.log(1, {"loss": float("nan"), "tokens": 3})
    (row,) = read_metrics(tmp_path / FILE)
    assert before - 0.01 <= row["time"] <= time.time() + 0.01
    assert row["loss"] is None
