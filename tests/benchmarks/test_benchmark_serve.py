"""The server's benchmark runs, and its exit status says when something is not equal."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

import torch

from benchmarks import serve


@pytest.fixture(autouse=True)
def threads():
    """The benchmark sets them for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SMALL = ["--streams", "1", "3", "--tokens", "4", "--requests", "20", "--clients", "4"]
SMALL += ["--prompts", "2", "--threads", "1", "--beside", "2", "--arrivals", "2"]


def test_it_measures_what_it_says(capsys):
    assert serve.main(SMALL) == 0
    out = capsys.readouterr().out
    for word in (
        "tokens/s",
        "one after the other",
        "beside 1 streams",
        "tenth turn",
        "health",
        "rows left: 0",
    ):
        assert word in out
    assert "NO" not in out and "failed: 0" in out and "unequal of 100: 0" in out


def test_it_sees_other_texts(capsys, monkeypatch):
    monkeypatch.setattr(serve.Bench, "alone", lambda self, body: "something else")
    monkeypatch.setattr(serve, "health", lambda bench, n: [0.0])
    good = {"failed": 0, "unequal of 100": 0, "rows left": 0}
    monkeypatch.setattr(serve, "abuse", lambda bench, n, clients: good)
    assert serve.main(SMALL) == 1
    assert "NO" in capsys.readouterr().out
