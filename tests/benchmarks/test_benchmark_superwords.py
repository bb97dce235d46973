"""The benchmark of superwords runs on a tiny text, and what it compares can differ."""

import importlib
import random

import pytest

pytest.importorskip("tokenizers")

from benchmarks import superwords, superwords_jobs
from benchmarks.measure import Run


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    def run_here(job, arguments, *, want_outcome, **_):
        module, _, function = job.partition(":")
        made = getattr(importlib.import_module(module), function)(**arguments)
        outcome = made.outcome(made.run())
        return Run(seconds=1.0, peak_bytes=2_000_000, base_bytes=1_000_000, outcome=outcome)

    monkeypatch.setattr(superwords, "run_fresh", run_here)
    monkeypatch.setattr(superwords_jobs.time, "process_time", iter(range(1000)).__next__)
    rng = random.Random(3)
    words = ["of the", "in a", "it's", "and", "steam", "12", "été", "中文", ", ", ".\n"]
    texts = [" ".join(rng.choices(words, k=60)) for _ in range(30)]
    path = tmp_path / "tiny.txt"
    path.write_bytes("<|endoftext|>".join(texts).encode())
    return str(path)


def arguments(corpus):
    options = "--vocab-size 400 --superwords-from 330 --runs 2 --naive-characters 3000"
    return ["--corpus", corpus, *options.split()]


@pytest.mark.filterwarnings("ignore:the vocabulary has")
def test_it_measures_and_compares(corpus, capsys):
    assert superwords.main(arguments(corpus)) == 0
    out = capsys.readouterr().out
    assert "merges equal to naive ones" in out
    with_superwords, plain = (
        next(line.split() for line in reversed(out.splitlines()) if line.startswith(kind))
        for kind in superwords.KINDS
    )
    assert float(with_superwords[1]) > 1.1 * float(plain[1])
    assert with_superwords[-1] == plain[-1] == "equal"


@pytest.mark.filterwarnings("ignore:the vocabulary has")
@pytest.mark.parametrize("name", ["naive_merges", "digest"])
def test_what_differs_is_said(corpus, monkeypatch, capsys, name):
    changing = iter(range(1000))
    monkeypatch.setattr(superwords_jobs, name, lambda *_: next(changing))
    assert superwords.main(arguments(corpus)) == 1
    assert "OTHER" in capsys.readouterr().out
