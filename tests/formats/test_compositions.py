"""Random compositions of a tokenizer.json's components; see fuzz.compositions too."""

import random
from collections import Counter

import pytest

from tests.support import compositions

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
