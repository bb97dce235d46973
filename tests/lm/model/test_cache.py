"""Logits with a cache against logits without one."""

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import KVCache
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401

T = 48
NEAR = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module", params=["cs336", "gpt"])
def model(request):
    return small_model(request.param).eval().requires_grad_(False)


def test_prompts_of_every_length(model):
    ids = ids_like(model, 2, T)
    expected = model(ids)
    for prompt in range(1, T + 1):
        cache = KVCache(model.config, 2)
        pieces = [model(ids[:, :prompt], cache)]
        while cache.lengths[0] < min(T, prompt + 3):
            at = cache.lengths[0]
            pieces.append(model(ids[:, at : at + 1], cache))
        got = torch.cat(pieces, 1)
        torch.testing.assert_close(got, expected[:, : got.shape[1]], **NEAR)


def test_one_token_at_a_time_and_several(model):
    ids = ids_like(model, 3, T)
    expected = model(ids)
    for step in (1, 5, 16):
        cache = KVCache(model.config, 3, T)
        got = [model(ids[:, at : at + step], cache) for at in range(0, T, step)]
        torch.testing.assert_close(torch.cat(got, 1), expected, **NEAR)
        assert cache.lengths == (T, T, T)


def test_ragged_rows(model):
    rows = [ids_like(model, 1, T, seed)[0] for seed in range(5)]
    expected = [model(row[None])[0] for row in rows]
    lengths = [1, 20, 7, 30, 13]
    cache = KVCache(model.config, 5)
    first = torch.full((5, 30), 96)
    for row, n in enumerate(lengths):
        first[row, :n] = rows[row][:n]
    got = model(first, cache, lengths=lengths)
    assert cache.lengths == tuple(lengths)
    for row, n in enumerate(lengths):
        torch.testing.assert_close(got[row, :n], expected[row][:n], **NEAR)
    for new in ([1] * 5, [3, 1, 3, 2, 0], [1] * 5, [2, 2, 1, 2, 2], [1] * 5):
        held, width = cache.lengths, max(new)
        nexts = torch.full((5, width), 96)
        for row, n in enumerate(new):
            nexts[row, :n] = rows[row][held[row] : held[row] + n]
        got = model(nexts, cache, lengths=new)
        for row, n in enumerate(new):
            wanted = expected[row][held[row] : held[row] + n]
            torch.testing.assert_close(got[row, :n], wanted, **NEAR)


def test_reset_and_truncate(model):
    ids = ids_like(model, 2, T)
    expected = model(ids)
    cache = KVCache(model.config, 2)
    model(ids_like(model, 2, T, seed=5), cache)
    cache.reset()
    torch.testing.assert_close(model(ids, cache), expected, **NEAR)
    cache.truncate(10)
    torch.testing.assert_close(model(ids[:, 10:20], cache), expected[:, 10:20], **NEAR)
    cache.truncate(torch.tensor([9, 15]))
    cache.truncate([4, np.int64(15)])
    nexts = torch.stack([ids[0, 4:9], ids[1, 15:20]])
    got = model(nexts, cache)
    torch.testing.assert_close(got[0], expected[0, 4:9], **NEAR)
    torch.testing.assert_close(got[1], expected[1, 15:20], **NEAR)


def test_bf16_cache_and_a_failed_pass(model):
    ids = ids_like(model, 2, T)
    cache = KVCache(model.config, 2, dtype=torch.bfloat16)
    model(ids[:, :30], cache)
    got = model(ids[:, 30:], cache)
    rough, expected = got, model(ids)[:, 30:]
    assert 1e-5 < (rough - expected).abs().max() < 0.1 * expected.abs().max()
    cache = KVCache(model.config, 2, 10)
    model(ids[:, :8], cache)
    with pytest.raises(ValueError, match="3 more tokens make 11, but the cache holds 10"):
        model(ids[:, 8:11], cache)
    assert cache.lengths == (8, 8)


def test_bad_arguments(model):
    ids = ids_like(model, 2, 4)
    for arguments, message in [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 1, "max_length": 0}, "max_length=0"),
        ({"batch_size": 1, "max_length": T + 1}, "context length, 48"),
    ]:
        with pytest.raises(ValueError, match=message):
            KVCache(model.config, **arguments)
    for arguments in (
        {"batch_size": True},
        {"batch_size": 2.0},
        {"batch_size": 1, "max_length": 2.0},
    ):
        with pytest.raises(TypeError, match="it must be an integer"):
            KVCache(model.config, **arguments)
    cache = KVCache(model.config, 3)
    with pytest.raises(ValueError, match="2 rows, but the cache was made for 3"):
        model(ids, cache)
    cache = KVCache(model.config, 2)
    for lengths in ([4], [4, 5], [-1, 2]):
        with pytest.raises(ValueError, match="expected 2 numbers from 0 to 4"):
            model(ids, cache, lengths=lengths)
    with pytest.raises(ValueError, match="row 0 holds 0 tokens"):
        cache.truncate(1)
    with pytest.raises(TypeError, match=r"lengths=0\.0"):
        cache.truncate(0.0)
    with pytest.raises(ValueError, match="each of 2 rows"):
        cache.truncate([0])


def test_a_compiled_model_is_not_compiled_again_for_each_token(model, caplog):
    ids = ids_like(model, 1, T)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    cache = KVCache(model.config, 1)
    counts = []
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        for i in range(T):
            found = compiled(ids[:, i : i + 1], cache)
            counts.append(len(graphs))
    torch.testing.assert_close(found[:, -1], model(ids)[:, -1], **NEAR)
    assert counts[-1] == counts[10]
    assert "recompile_limit" not in caplog.text


def test_a_part_is_a_cache_over_the_same_memory():
    model = small_model("nanochat-2026", window=5).eval()
    ids = ids_like(model, 3, 12)
    whole, alone = KVCache(model.config, 3, 20), KVCache(model.config, 2, 20)
    with torch.no_grad():
        part = whole.part(1, 3, [0, 0])
        model(ids[1:, :7], part)
        assert (part.lengths, whole.lengths) == ((7, 7), (0, 0, 0))
        again = model(ids[1:, 7:], whole.part(1, 3, part.lengths))
        model(ids[1:, :7], alone)
        assert torch.equal(again, model(ids[1:, 7:], alone))
    assert torch.equal(whole.keys[:, 1:], alone.keys) and not whole.keys[:, 0].any()
    for first, end, lengths in (
        (0, 0, []),
        (2, 4, [1, 1]),
        (0, 2, [1]),
        (0, 1, [21]),
        (0, 1, [-1]),
    ):
        with pytest.raises(ValueError, match="3 rows of up to 20"):
            whole.part(first, end, lengths)
