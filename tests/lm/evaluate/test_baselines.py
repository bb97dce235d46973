"""Unigram, bigram and gzip against sums worked out the slow way."""

import gzip
import itertools
import math
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

from bytemill.lm.batches.loaders import Tokens, fixed_batches
from bytemill.lm.evaluate import baselines
from bytemill.lm.evaluate.baselines import (
    Bigram,
    Unigram,
    baseline_bits_per_byte,
    gzip_bits_per_byte,
)

V = 12


def markov(n, seed=0):
    """Tokens of a Markov chain in which 11 never occurs, and the chain's entropy in nats."""
    random = np.random.default_rng(seed)
    table = np.random.default_rng(99).dirichlet(np.full(V - 1, 0.4), size=V - 1)
    ids = [0]
    for _ in range(n - 1):
        ids.append(int(random.choice(V - 1, p=table[ids[-1]])))
    share = np.linalg.matrix_power(table, 200)[0]
    entropy = -(share[:, None] * table * np.log(table)).sum()
    return np.array(ids, np.uint16), float(entropy)


def test_probabilities_sum_to_one(monkeypatch):
    monkeypatch.setattr(baselines, "_PIECE", 37)
    ids = markov(500)[0]
    tokens = Tokens.of(ids)
    everything = np.arange(V)
    for model in (Unigram.fit(tokens, V), Bigram.fit(tokens, V)):
        for previous in range(V):
            p = np.exp(-model.nats(np.full(V, previous), everything))
            assert p.sum() == pytest.approx(1) and p.min() > 0


def test_counts_are_the_slow_ones(monkeypatch):
    ids = markov(777)[0].tolist()
    singles, pairs = Counter(ids[1:]), Counter(itertools.pairwise(ids))
    for piece in (1 << 22, 50, 1):
        monkeypatch.setattr(baselines, "_PIECE", piece)
        model = Bigram.fit(Tokens.of(np.array(ids)), V)
        firsts, d = Counter(ids[:-1]), model.discount
        for a in range(V):
            for b in range(V):
                p = (singles[b] + 1) / (len(ids) - 1 + V)
                if firsts[a]:
                    kinds = sum(1 for x, _ in pairs if x == a)
                    p = max(pairs[a, b] - d, 0) / firsts[a] + d * kinds / firsts[a] * p
                assert model.nats(np.array([a]), np.array([b]))[0] == pytest.approx(-math.log(p))


def test_bigram_reaches_the_entropy():
    ids, entropy = markov(30_000)
    fresh, _ = markov(30_000, seed=1)
    x, y = fresh[:-1].astype(np.int64), fresh[1:].astype(np.int64)
    found = Bigram.fit(Tokens.of(ids), V).nats(x, y).mean()
    assert found == pytest.approx(entropy, rel=0.02)
    assert Unigram.fit(Tokens.of(ids), V).nats(x, y).mean() > entropy * 1.1


def test_bits_per_byte_leaves_out_what_has_no_bytes():
    model = Unigram(np.full(4, 0.25))
    lengths = np.array([0, 1, 2, 5])
    ids = np.array([0, 1, 2, 3, 0])
    batches = fixed_batches(Tokens.of(ids), 5, 2, 5)
    assert (batches[0][1] == -1).any()
    # Targets 1, 2, 3 count: three times two bits over eight bytes.
    assert baseline_bits_per_byte(model, batches, lengths) == pytest.approx(6 / 8)
    with pytest.raises(ValueError, match="no bytes"):
        baseline_bits_per_byte(model, batches, np.zeros(4, np.int64))


def test_gzip():
    pieces = [b"some text, and some more text; " * 40, b"", bytes(range(256))]
    text = b"".join(pieces)
    found = gzip_bits_per_byte(pieces)
    assert found == pytest.approx(8 * len(gzip.compress(text, 9)) / len(text))
    with pytest.raises(ValueError, match="no bytes"):
        gzip_bits_per_byte([b""])


def test_too_little():
    with pytest.raises(ValueError, match="3 tokens are too few"):
        Bigram.fit(Tokens.of(np.array([1, 2, 3])), V)
