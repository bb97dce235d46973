"""Validation: the same tokens and the same loss, whatever the batch."""

from contextlib import nullcontext

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.batches.loaders import fixed_batches
from bytemill.lm.batches.tokens import Tokens
from bytemill.lm.evaluate.corpus import evaluate
from bytemill.lm.evaluate.validation import validate
from bytemill.lm.train import Trainer
from bytemill.lm.train.run_data import RunData
from tests.support.lm_runs import config, make_ids, tiny_model

T = 16
IDS = np.random.default_rng(3).integers(0, 64, size=3000)


def found(model, batch_size, token_bytes=None):
    return validate(
        model,
        fixed_batches(Tokens.of(IDS), 2000, batch_size, T),
        token_bytes,
        device=torch.device("cpu"),
        computing=nullcontext,
        rows=5,
    )


def by_hand(model):
    """Nats of each of the 125 rows' targets, by torch in fp64."""
    starts = [i * (2999 // T) // 125 * T for i in range(125)]
    x = torch.tensor(np.array([IDS[s : s + T] for s in starts]))
    y = torch.tensor(np.array([IDS[s + 1 : s + T + 1] for s in starts]))
    with torch.no_grad():
        logits = model.double()(x).double()
    model.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none"), y


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_the_loss_does_not_depend_on_the_batch(batch_size):
    model = tiny_model()
    nats, targets = by_hand(model)
    sizes = torch.arange(64) % 5  # some ids have no bytes: special tokens
    validation = found(model, batch_size, sizes)
    assert validation.loss == pytest.approx(nats.mean().item(), rel=1e-6)
    of_text = sizes[targets.flatten()] > 0
    bits = nats[of_text].sum().item() / np.log(2) / sizes[targets].sum().item()
    assert validation.bits_per_byte == pytest.approx(bits, rel=1e-6)


def test_a_run_validates_on_the_tokens_it_is_told(tmp_path):
    make_ids(tmp_path)
    counts = set()
    for batch_size in (1, 8, 64):
        settings = config(
            tmp_path, batch_size=batch_size, eval_tokens=500, val_data=str(tmp_path / "ids.npy"),
            steps=1, out=str(tmp_path / f"run{batch_size}"),
        )  # fmt: skip
        trainer = Trainer(settings)
        trainer.run()
        counts.add(sum(y.size for _, y in trainer._val_batches))
    assert counts == {496}
    data = RunData.open(settings.data)
    assert sum(y.size for _, y in data.val_batches(500, 3, 16)) == 496


@pytest.mark.parametrize("way", ["bias", "hook"])
def test_a_changed_head_is_honoured(way):
    model = tiny_model()
    plain = found(model, 8).loss
    bias = torch.linspace(-2, 2, 64)
    if way == "bias":
        own = model.lm_head.weight
        model.lm_head = torch.nn.Linear(32, 64)
        with torch.no_grad():
            model.lm_head.weight.copy_(own)
            model.lm_head.bias.copy_(bias)
    else:
        model.lm_head.register_forward_hook(lambda module, given, output: output + bias)
    nats, _ = by_hand(model)
    wanted = nats.mean().item()
    assert abs(wanted - plain) > 0.1
    assert found(model, 8).loss == pytest.approx(wanted, rel=1e-6)
    # The same rows as a corpus: every window of T of the whole text.
    whole = evaluate(model, Tokens.of(IDS), max_tokens=T + 1).loss
    with torch.no_grad():
        logits = model.double()(torch.tensor(IDS[None, :T])).double()[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(IDS[1 : T + 1])).item()
    assert whole == pytest.approx(expected, rel=1e-6)
