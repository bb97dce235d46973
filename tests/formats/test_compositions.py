"""Random compositions of a tokenizer.json's components; see fuzz.compositions too."""

import random
from collections import Counter

import pytest

from tests.support import compositions
from tests.support.families import byte_level, token

pytest.importorskip("tokenizers", reason="tokenizers is not installed")


def test_random_compositions_are_equal_or_refused():
    counts: Counter[str] = Counter()
    for seed in range(300):
        rng = random.Random(seed)
        data = compositions.document(rng, *compositions.small(rng))
        counts[compositions.compare(data, [compositions.text(rng) for _ in range(8)])] += 1
    assert counts["equal"] > 120
    # What they refuse and we read would be a file that nobody else can read.
    assert counts["refused there"] == 0


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("lstrip", [False, True])
@pytest.mark.parametrize("rstrip", [False, True])
def test_white_space_that_a_token_before_has_taken(normalized, lstrip, rstrip):
    """Nothing is left then for a token that takes what is before it."""
    vocab, merges = compositions.small(random.Random(0))
    flags = {"normalized": normalized, "lstrip": lstrip, "rstrip": rstrip}
    data = {
        "version": "1.0",
        "added_tokens": [
            {"id": len(vocab), **token("  ", **flags)},
            {"id": vocab["x"], **token("x", rstrip=True)},
        ],
        "pre_tokenizer": byte_level(),
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }
    data.update(dict.fromkeys(["normalizer", "post_processor", "decoder", "truncation", "padding"]))
    texts = [before + " " * n + after for before in "xab" for n in range(7) for after in ["", "a"]]
    assert compositions.compare(data, texts) == "equal"
