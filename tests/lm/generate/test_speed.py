"""What speeds are compared with: FLOPs and bytes, counted here by hand."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.generate import speed
from bytemill.lm.generate.speed import Limits, device_limits, measure
from bytemill.lm.generate.weights import DecodingWeights
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

B, T, N = 3, 10, 4


@pytest.fixture(scope="module")
def weights():
    return DecodingWeights(small_model("gpt", vocab_size=90).eval())


def test_the_limits_are_those_of_what_is_computed(weights, monkeypatch):
    """The clock says a second for everything, so that speeds are counts."""
    monkeypatch.setattr(speed, "_best", lambda work, device, runs: work() or 1.0)
    config = weights.config
    matrices = sum(m.numel() for x in weights.layers for m in (x.qkv, x.output, x.up, x.down))
    head, width = weights.head.numel(), config.d_model
    others = 0 if not config.norm_weights else sum(
        p.numel() for name, p in weights.model.named_parameters() if "ln" in name or "norm" in name
    )  # fmt: skip
    # Bytes of weights for each pass, and of keys and values.
    read = 4 * (matrices + weights.model.lm_head.weight.numel() + others)
    token = 4 * 2 * config.n_layer * config.kv_width
    memory = Limits(bytes_per_second=1.0, flops_per_second=1e30)
    prefill, decode = measure(weights, memory, B, n_prompt=T, n_new=N, runs=1)
    assert (prefill.tokens_per_second, decode.tokens_per_second) == (B * T, B * N)
    assert prefill.limit == pytest.approx(B * T / (read + B * T * token))
    held = sum(range(T + 1, T + N + 1))
    assert decode.limit == pytest.approx(B * N / (N * read + B * held * token))
    assert (prefill.bound, decode.bound) == ("memory", "memory")
    compute = Limits(bytes_per_second=1e30, flops_per_second=1.0)
    prefill, decode = measure(weights, compute, B, n_prompt=T, n_new=N, runs=1)
    scores = 4 * width * config.n_layer  # of a query with a key, and a weight with its value
    flops = B * (2 * T * matrices + 2 * head + scores * T * T)
    assert prefill.limit == pytest.approx(B * T / flops)
    flops = B * (2 * N * (matrices + head) + scores * held)
    assert decode.limit == pytest.approx(B * N / flops)
    assert (prefill.bound, decode.bound) == ("compute", "compute")
    assert prefill.share == prefill.tokens_per_second / prefill.limit


def test_it_computes_what_it_says(weights, monkeypatch):
    seen = []
    read, step = speed.Passes.read, speed.Passes.step

    def reading(self, ids, cache):
        seen.append(("read", tuple(ids.shape), cache.lengths))
        return read(self, ids, cache)

    def stepping(self, tokens, cache):
        seen.append(("step", tuple(tokens.shape), cache.lengths))
        return step(self, tokens, cache)

    monkeypatch.setattr(speed.Passes, "read", reading)
    monkeypatch.setattr(speed.Passes, "step", stepping)
    limits = Limits(1.0, 1.0)
    speeds = measure(weights, limits, B, n_prompt=T, n_new=N, runs=2)
    assert all(one.tokens_per_second > 0 for one in speeds)
    once = [("step", (B,), (T + i,) * B) for i in range(N)]
    assert seen == [("read", (B, T), (0,) * B)] * 3 + once * 3


def test_a_device_has_limits(monkeypatch):
    monkeypatch.setattr(speed, "_COPIED", {"cpu": 1 << 20})
    monkeypatch.setattr(speed, "_SIZE", {"cpu": 64})
    limits = device_limits(torch.device("cpu"), torch.float32)
    assert limits.bytes_per_second > 0 and limits.flops_per_second > 0


def test_what_is_refused(weights):
    limits = Limits(1.0, 1.0)
    with pytest.raises(ValueError, match="context length is 48"):
        measure(weights, limits, 1, n_prompt=40, n_new=9)
    with pytest.raises(ValueError, match="batch_size=0"):
        measure(weights, limits, 0, n_prompt=4, n_new=4)
    with pytest.raises(TypeError, match="n_new"):
        measure(weights, limits, 1, n_prompt=4, n_new=1.5)
