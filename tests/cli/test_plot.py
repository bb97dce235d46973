"""`bytemill plot`: what it draws, and its bad input."""

import json
import sys

import pytest

pytest.importorskip("torch")

from tests.support.programs import call, is_one_line


@pytest.fixture
def runs(tmp_path):
    """Two runs and one that has logged nothing yet."""
    for name, losses in (("first", (3.0, 2.0)), ("second", (3.0, 2.5)), ("new", ())):
        (tmp_path / name).mkdir()
        rows = [
            {"step": i, "tokens": 64 * i, "loss": loss, "val_loss": loss}
            for i, loss in enumerate(losses, 1)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name / "metrics.jsonl").write_text(text)
    return tmp_path


def test_one_run_and_several(runs, capsys):
    pytest.importorskip("matplotlib")
    assert call(capsys, "plot", runs / "first") == (0, f"{runs / 'first' / 'loss.png'}\n", "")
    one = (runs / "first" / "loss.png").read_bytes()
    out = runs / "pictures" / "both.png"
    both = [runs / "first", runs / "second"]
    assert call(capsys, "plot", *both, "--out", out) == (0, f"{out}\n", "")
    assert one.startswith(b"\x89PNG") and out.read_bytes().startswith(b"\x89PNG")
    # Another curve is another picture.
    alone = runs / "alone.png"
    assert call(capsys, "plot", runs / "first", "--out", alone)[0] == 0
    assert alone.read_bytes() == one != out.read_bytes()


@pytest.mark.parametrize(
    ("names", "more", "told"),
    [
        (["first", "second"], [], "error: --out: missing; name the picture of 2 runs"),
        (["none"], [], "none: there is no metrics.jsonl in it; name a run's folder"),
        (["new"], [], "new: no step has been logged yet"),
        (["first"], ["--out", "first"], "--out"),
        ([], [], "the following arguments are required: RUN"),
    ],
)
def test_bad_input_is_one_line(runs, capsys, names, more, told):
    pytest.importorskip("matplotlib")
    more = [runs / word if not word.startswith("-") else word for word in more]
    status, out, err = call(capsys, "plot", *(runs / name for name in names), *more)
    assert (status, out) == (2, "")
    is_one_line(err, told)
    assert not list(runs.rglob("*.png"))


def test_without_matplotlib(runs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = call(capsys, "plot", runs / "first")
    assert (status, out) == (2, "")
    is_one_line(err, "error: matplotlib is not installed: pip install matplotlib")
