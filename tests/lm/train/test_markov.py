"""On a source whose entropy is known a model reaches it, and cannot do better."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.train import Trainer
from tests.support.lm_runs import config

STATES = 5


def source(n):
    """A chain in which two ids decide the next one; its ids, and its entropy rate in nats."""
    rng = np.random.default_rng(5)
    table = rng.dirichlet(np.full(STATES, 0.25), size=(STATES, STATES))
    # The stationary distribution over pairs, by powers of the chain of pairs.
    pairs = np.full((STATES, STATES), 1 / STATES**2)
    for _ in range(500):
        pairs = np.einsum("ab,abc->bc", pairs, table)
    entropy = -np.einsum("ab,abc,abc->", pairs, table, np.log(np.maximum(table, 1e-300)))
    steps = table.cumsum(-1)
    ids, draws = [0, 0], rng.random(n)
    for draw in draws:
        ids.append(min(int(np.searchsorted(steps[ids[-2], ids[-1]], draw)), STATES - 1))
    return np.array(ids, np.uint16), entropy


@pytest.mark.parametrize(("preset", "optimizer"), [("gpt", "muon"), ("cs336", "adamw")])
def test_the_entropy_rate_is_reached(preset, optimizer, tmp_path):
    ids, entropy = source(120_000)
    np.save(tmp_path / "ids.npy", ids[:100_000])
    np.save(tmp_path / "val.npy", ids[100_000:])
    result = Trainer(
        config(
            tmp_path,
            val_data=str(tmp_path / "val.npy"),
            preset=preset,
            optimizer=optimizer,
            context_length=64,
            d_model=64,
            n_head=4,
            n_layer=2,
            batch_size=16,
            steps=200,
            eval_tokens=40_960,
            log_every=50,
            matrix_lr=0.02 if optimizer == "muon" else 3e-3,
        )
    ).run()
    # The first id of a window has nothing before it; its part of the loss is small.
    assert result.validation.loss == pytest.approx(entropy, rel=0.03)
