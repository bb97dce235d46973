"""The progress bar, on a terminal and elsewhere."""

import io
import re
from types import SimpleNamespace

import pytest


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def progress(monkeypatch):
    from bytemill.cli import progress as module

    clock = iter(range(0, 1000, 10))
    # The module's name only: other threads, such as a server's, go on by the real clock.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    return module.Progress


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
def test_bar_on_a_terminal(progress, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with progress("count", "MB", stream) as bar:
        for done in (0, 50_000_000, 99_000_000, 100_000_000):
            bar.update(done, 100_000_000)
    drawn = stream.getvalue()
    assert "\n" not in drawn
    # What is left on the screen is blank: the next line may be printed over it.
    assert drawn.endswith("\r")
    assert drawn.split("\r")[-2].strip() == ""
    assert max(map(len, drawn.split("\r"))) < columns
    if columns == 80:
        assert re.search(r"count \[#+-+\]  50%  50\.0 of 100\.0 MB  2 MB/s  0:20 left", drawn)


def test_the_bar_does_not_run_backwards_when_there_is_more_to_do(progress):
    stream = io.StringIO()
    with progress("train", "steps", stream) as bar:
        for done, total in ((10, 40), (11, 600), (200, 600)):
            bar.update(done, total, "", 1.0)
    shown = re.findall(r"(\d+)%  (\d+) of (\d+) steps", stream.getvalue())
    assert shown == [("25", "10", "40"), ("25", "11", "600"), ("33", "200", "600")]


def test_lines_elsewhere(progress):
    stream = io.StringIO()
    with progress("merge", "merges", stream) as bar:
        bar.update(100, 400)
        bar.update(0, 0)
    assert stream.getvalue().splitlines() == [
        "merge:  25%  100 of 400 merges  10 merges/s  0:30 left",
        "merge:  25%  0 of 0 merges  0 merges/s",
    ]
