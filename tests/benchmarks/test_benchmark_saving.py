"""The benchmark of saving measures what it says."""

import pytest

pytest.importorskip("torch")

from benchmarks import saving
from bytemill.lm.checkpoint import state


def test_what_is_written_by_the_other_thread_is_not_in_the_step(monkeypatch):
    write = state.write_file

    def busy(path, tensors):
        for _ in range(20):
            digest = write(path, tensors)
        return digest

    _, plain, size = saving.measure(1, 32, 1, 3)
    monkeypatch.setattr(state, "write_file", busy)
    step, slow, again = saving.measure(1, 32, 1, 3)
    assert step > 0 and size == again > 1e6
    assert min(cost.in_all for cost in slow) > 3 * min(cost.in_all for cost in plain)
    assert min(cost.in_step for cost in slow) < 0.5 * min(cost.in_all for cost in slow)
