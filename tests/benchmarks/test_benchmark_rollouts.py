"""The benchmark of rollouts times both by turns, and would say if rows were not those of a seed."""

import pytest

pytest.importorskip("torch")

from benchmarks import rollouts
from tests.support.one_thread import one_thread  # noqa: F401

TINY = {"vocab_size": 60, "context_length": 96, "n_layer": 1, "n_head": 2, "d_model": 16}


def test_rows_are_compared(monkeypatch):
    monkeypatch.setitem(rollouts.SHAPES, "tiny", ("gpt", TINY))
    one, many = rollouts.compare("tiny", samples=3, n_new=8, times=2)
    assert len(one) == len(many) == 2
    generate = rollouts.generate

    def other_rows(weights, prompts, **options):
        found = generate(weights, prompts, **options)
        return found if len(prompts) == 1 else found[::-1]

    monkeypatch.setattr(rollouts, "generate", other_rows)
    with pytest.raises(ValueError, match="row 0 of 3 is not what its seed writes alone"):
        rollouts.compare("tiny", samples=3, n_new=8, times=1)
