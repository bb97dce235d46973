"""The benchmark of CORE compares scores, and would say if they were not the same."""

import pytest

pytest.importorskip("torch")

from benchmarks import core
from bytemill.lm.evaluate.core.prompts import Question
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401


def test_scores_are_compared(monkeypatch):
    model = small_model("gpt", vocab_size=50, context_length=32).eval()
    first = list(range(1, 14))
    choices = Question([[*first, 20], [*first, 21, 22]], [(13, 14), (13, 15)], 1, False)
    other = Question([[*first, 30], [*first, 31, 32]], [(13, 14), (13, 15)], 1, False)
    continued = Question([[1, 2, 3, 4]], [(2, 4)], None, False)
    sample = core.Sample("made up", [choices, continued], 2)
    assert len(core.measure(model, sample, (1, 64))) == 3
    batched = core.batched
    monkeypatch.setattr(core, "batched", lambda *args: batched(*args)[::-1])
    with pytest.raises(ValueError, match="made up, batch size 7, item 0"):
        core.measure(model, core.Sample("made up", [choices, other], 2), (7,))
