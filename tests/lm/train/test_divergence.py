"""Runs whose numbers stop being numbers: told, and never saved as good."""

import json

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore, load_model
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.train import NonFiniteLossError, Trainer, events
from bytemill.lm.train.metrics import read_metrics
from tests.support.lm_runs import config, make_ids


@pytest.fixture
def folder(tmp_path):
    make_ids(tmp_path)
    return tmp_path


def poison(monkeypatch, at, value):
    """From call `at` on the loss is `value` times what it is."""
    loss, calls = Transformer.loss, []

    def poisoned(self, *args, **options):
        calls.append(1)
        return loss(self, *args, **options) * (value if len(calls) >= at else 1.0)

    monkeypatch.setattr(Transformer, "loss", poisoned)


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "the loss is nan"), (1e35, "the gradients' norm is inf")]
)
def test_a_loss_that_is_no_number(folder, monkeypatch, value, words):
    poison(monkeypatch, 6, value)
    with pytest.raises(NonFiniteLossError, match=rf"step 6: {words}.*step-00000004") as raised:
        Trainer(config(folder, checkpoint_every=2)).run()
    assert (raised.value.step, raised.value.checkpoint.name) == (6, "step-00000004")
    loaded = load_model(raised.value.checkpoint)
    assert all(p.isfinite().all() for p in loaded.model.parameters())


@pytest.mark.parametrize("every", [1, 0])
@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize(("optimizer", "rate"), [("muon", 1e38), ("adamw", 1e39)])
def test_weights_that_are_no_numbers_are_not_saved(folder, optimizer, rate, validated, every):
    # A good run, then one step of such a rate that the weights overflow: the losses, which come
    # before the step, are all finite.
    def lines():
        text = (folder / "run" / "metrics.jsonl").read_text()
        return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 3:
            for one in trainer.optimizers:
                for group in one.param_groups:
                    group["base_lr"] = rate

    val_data = str(folder / "ids.npy") if validated else None
    settings = config(
        folder, optimizer=optimizer, checkpoint_every=every, keep_last=1, steps=4,
        schedule="constant", warmup_steps=0, val_data=val_data,
    )  # fmt: skip
    trainer = Trainer(settings, on_event=listen)
    with pytest.raises(NonFiniteLossError, match=r"step 4: the (validation |)loss") as raised:
        trainer.run()
    store = CheckpointStore(folder / "run")
    assert store.steps() == ([3] if every else [])
    assert raised.value.checkpoint == (store.path(3) if every else None)
    assert lines()
    if every:
        text = (store.path(3) / "state.json").read_text()
        json.loads(text, parse_constant=pytest.fail)
        assert all(p.isfinite().all() for p in load_model(folder / "run").model.parameters())


@pytest.mark.parametrize(("at", "steps"), [(1, [1]), (4, [3, 4])])
def test_a_run_that_diverges_before_the_first_line_has_a_curve(folder, monkeypatch, at, steps):
    told = []
    poison(monkeypatch, at, float("nan"))
    with pytest.raises(NonFiniteLossError):
        Trainer(config(folder, log_every=100), on_event=told.append).run()
    rows = read_metrics(folder / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == steps
    assert (rows[-1]["loss"], rows[-1]["tokens"]) == (None, at * 64)
    losses = [event.loss for event in told if isinstance(event, events.Stepped)]
    if at > 1:
        assert rows[0]["loss"] == pytest.approx(sum(losses) / 3)
        assert (folder / "run" / "loss.png").exists()


def test_no_number_before_the_first_checkpoint(folder, monkeypatch):
    poison(monkeypatch, 1, float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"step 1: .*none was saved"):
        Trainer(config(folder)).run()
