"""Batches of texts of all lengths against tiktoken, text by text."""

import gc
import itertools
import random

import pytest

from tests.support.against_tiktoken import TEXT, pair, trained


def texts() -> list[str]:
    """Short ones, empty ones, surrogates, and some that are taken in parts, in no order."""
    rng = random.Random(5)
    found = []
    for _ in range(1500):
        start, length = rng.randrange(len(TEXT)), rng.choice([0, 1, 7, 100, 100, 2000])
        found.append(TEXT[start : start + length])
    long = "".join(rng.choices([*TEXT.split(" "), "のは", "<|endoftext|>"], k=120_000))
    odd = ["\ud83d\udc4d \ud83d", "\ud83d" + long, long, long[:300_000], "<|endoftext|>" * 3]
    for text in odd:
        found.insert(rng.randrange(len(found)), text)
    return [*found, long[::-1]]


@pytest.mark.parametrize("name", ["gpt2", "trained: cl100k"])
@pytest.mark.parametrize("num_threads", [1, 2, 5, None])
def test_a_batch(name: str, num_threads: int | None) -> None:
    tokenizer, encoding = pair(name)
    batch = texts()
    expected = [encoding.encode(text, allowed_special="all") for text in batch]
    assert tokenizer.encode_batch(batch, num_threads) == expected
    assert tokenizer.count_batch(batch, num_threads) == [len(ids) for ids in expected]
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    ids, offsets = tokenizer.encode_batch_to_numpy(batch, num_threads)
    assert offsets.dtype == np.uint64
    assert (offsets[0], offsets[-1], len(offsets)) == (0, len(ids), len(batch) + 1)
    for i, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
        assert ids[start:end].tolist() == expected[i], i


def test_garbage_is_collected_as_before() -> None:
    tokenizer = trained("gpt2")
    assert gc.isenabled()
    tokenizer.encode_batch(["a b"] * 1000)
    assert gc.isenabled()
    gc.disable()
    try:
        tokenizer.encode_batch(["a b"] * 1000)
        assert not gc.isenabled()
    finally:
        gc.enable()
