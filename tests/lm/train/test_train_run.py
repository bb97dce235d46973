"""`Trainer` as a library: events, files, and what can go wrong."""

import errno
import itertools
import json
import signal
import threading
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm.checkpoint.one_file import CheckpointStore, load_model
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.train import TrainConfig, Trainer, events
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.start.started import Started
from tests.support.lm_runs import BOS, TEXT, config, edit_state, make_ids, make_shards


@pytest.fixture
def folder(tmp_path):
    make_ids(tmp_path)
    return tmp_path


def of_shards(folder, **changes):
    return config(
        folder, data=str(folder / "shards"), tokenizer=str(folder / "tokenizer"), **changes
    )


def test_a_run(tmp_path, capfd):
    tokenizer = make_shards(tmp_path)
    told = []
    settings = of_shards(tmp_path, steps=30, eval_every=10, checkpoint_every=10, log_every=4)
    result = Trainer(settings, on_event=told.append).run()
    assert capfd.readouterr() == ("", ""), "a library does not print"
    run = tmp_path / "run"
    assert (result.step, result.is_finished) == (30, True)
    assert result.checkpoint == run / "checkpoints" / "step-00000030"
    kinds = [type(event) for event in told]
    assert kinds[0] is Started
    assert kinds.count(events.Stepped) == 30
    assert [e.step for e in told if isinstance(e, events.Validated)] == [10, 20, 30]
    assert [e.step for e in told if isinstance(e, events.Saved)] == [10, 20, 30]
    steps = [event for event in told if isinstance(event, events.Stepped)]
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].tokens == 30 * 4 * 16
    assert steps[-1].seconds_left == 0
    assert TrainConfig.load(run / "config.json") == settings
    assert Tokenizer.load(run / "tokenizer") == tokenizer
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [4, 8, 12, 16, 20, 24, 28, 30]
    means = [sum(s.loss for s in steps[n : n + 4]) / 4 for n in range(0, 28, 4)]
    assert [row["loss"] for row in rows if "loss" in row][:7] == pytest.approx(means)
    losses = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
    assert losses[30] == result.validation.loss
    loaded = load_model(run, which="last")
    assert loaded.tokenizer == tokenizer
    assert CheckpointStore(run).best().metrics["val_loss"] == min(losses.values())


def test_bits_per_byte_are_those_of_the_text(tmp_path):
    tokenizer = make_shards(tmp_path, validation_fraction=0.5)
    result = Trainer(of_shards(tmp_path, eval_tokens=10**6, steps=2)).run()
    # Again from the definition: every window of the validation ids, logits in fp64.
    ids = np.concatenate([np.load(p) for p in (tmp_path / "shards").glob("val-*[0-9].npy")])
    model = load_model(tmp_path / "run").model.double()
    nats, n_bytes, n_tokens, of_text = 0.0, 0, 0, 0.0
    for start in range(0, len(ids) - 16, 16):
        row = torch.from_numpy(ids[start : start + 17].astype(np.int64))
        logs = model(row[None, :-1]).double().log_softmax(-1)[0]
        for position, target in enumerate(row[1:].tolist()):
            nll = -logs[position, target].item()
            nats, n_tokens = nats + nll, n_tokens + 1
            if target != tokenizer.special_tokens[BOS]:
                of_text += nll
                n_bytes += len(tokenizer.decode_single_token_bytes(target))
    assert n_tokens > 300
    assert result.validation.loss == pytest.approx(nats / n_tokens, rel=1e-5)
    bits = of_text / np.log(2) / n_bytes
    assert result.validation.bits_per_byte == pytest.approx(bits, rel=1e-5)


def test_packed_documents(tmp_path):
    make_shards(tmp_path)
    assert Trainer(of_shards(tmp_path, loader="documents", steps=3)).run().is_finished
    with pytest.raises(ValueError, match=r"bos='<\|x\|>': .* special tokens are <\|bos\|>"):
        Trainer(of_shards(tmp_path, loader="documents", bos="<|x|>", out=str(tmp_path / "r"))).run()


def test_documents_need_a_tokenizer(folder):
    with pytest.raises(ValueError, match="needs a tokenizer"):
        Trainer(config(folder, loader="documents")).run()


def test_micro_batches_do_not_show(folder):
    def weights(model):
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    found = []
    for rows in (4, 2, 1, 3):
        out = str(folder / f"run{rows}")
        trainer = Trainer(config(folder, micro_batch_size=rows, out=out, optimizer="adamw"))
        trainer.run()
        found.append(weights(trainer.model))
    begun = weights(Transformer(trainer.plan.model, generator=torch.Generator().manual_seed(0)))
    moved = (found[0] - begun).norm()
    assert 0 < moved < 0.5 * begun.norm()
    for other in found[1:]:
        assert (other - found[0]).norm() < 1e-4 * moved


def test_stop_saves(folder):
    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 2:
            trainer.stop()

    trainer = Trainer(config(folder), on_event=listen)
    result = trainer.run()
    assert (result.step, result.is_finished) == (2, False)
    assert CheckpointStore(folder / "run").steps() == [2]


SAVING = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]


@pytest.fixture
def not_ignored():
    """Signals that may be ignored by what tests were started by, as nohup has SIGHUP."""
    before = {number: signal.getsignal(number) for number in SAVING}
    for number in SAVING:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SAVING)
def test_signals_save(folder, number, not_ignored):
    before = signal.getsignal(number)

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 2:
            signal.raise_signal(number)

    result = Trainer(config(folder), on_event=listen).run()
    assert (result.step, result.is_finished) == (2, False)
    assert signal.getsignal(number) == before


def test_a_second_interrupt_does_not_wait(folder, not_ignored):
    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Trainer(config(folder), on_event=listen).run()


def test_in_another_thread(folder):
    results = []
    thread = threading.Thread(target=lambda: results.append(Trainer(config(folder)).run()))
    thread.start()
    thread.join()
    assert results[0].is_finished


def test_out_of_memory_is_told_and_remembered(folder, monkeypatch):
    loss, told = Transformer.loss, []

    def small(self, ids, targets, **options):
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, ids, targets, **options)

    monkeypatch.setattr(Transformer, "loss", small)
    Trainer(config(folder), on_event=told.append).run()
    assert [e for e in told if isinstance(e, events.MemoryRanOut)] == [events.MemoryRanOut(1, 2)]
    found = CheckpointStore(folder / "run").last()
    assert found.extra["loop"]["rows"] == 2


def test_a_full_disk(folder, monkeypatch):
    def listen(event):
        if isinstance(event, events.Saved):
            monkeypatch.setattr("bytemill.lm.checkpoint.state.write_file", full)

    def full(path, tensors):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left on device; make room and resume"):
        Trainer(config(folder, checkpoint_every=2), on_event=listen).run()
    assert CheckpointStore(folder / "run").steps() == [2]
    assert load_model(folder / "run").step == 2
    monkeypatch.undo()
    again = Trainer(config(folder, checkpoint_every=2), resume=True).run()
    assert again.is_finished


BAD = [
    ({"data": "none"}, "none: no such"),
    ({"tokenizer": "none"}, "none"),
    ({"context_length": 2000}, "2000 tokens, but a window of context_length=2000 needs 2001"),
    ({"vocab_size": 60}, "ids go up to 63, but the model's vocab_size is 60"),
    ({"n_head": 5}, "d_model=32 does not divide among n_head=5"),
    ({"device": "tpu"}, "device='tpu'"),
    ({"device": "cuda:99"}, "device='cuda:99': .* sees"),
]


@pytest.mark.parametrize(("changes", "words"), BAD)
def test_bad_input(folder, changes, words):
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        Trainer(config(folder, **changes)).run()
    assert not (folder / "run").exists(), "nothing is written before all is checked"


def test_empty_data(tmp_path):
    np.save(tmp_path / "ids.npy", np.zeros(0, np.uint16))
    with pytest.raises(ValueError, match=r"ids.npy: it has no tokens"):
        Trainer(config(tmp_path)).run()


def test_shards_of_another_tokenizer(tmp_path):
    make_shards(tmp_path)
    Tokenizer.train([TEXT], 270, [BOS]).save(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="another tokenizer"):
        Trainer(of_shards(tmp_path)).run()


def test_a_vocabulary_larger_than_the_models(tmp_path):
    make_shards(tmp_path)
    with pytest.raises(ValueError, match="vocab_size=270: the tokenizer has 280 tokens"):
        Trainer(of_shards(tmp_path, vocab_size=270)).run()
    assert Trainer(of_shards(tmp_path, vocab_size=300, steps=1)).run().is_finished


def test_a_folder_that_is_taken(folder):
    Trainer(config(folder)).run()
    with pytest.raises(ValueError, match="there is a run in this folder already, at step 6"):
        Trainer(config(folder)).run()


def test_no_validation_split(tmp_path):
    make_shards(tmp_path, validation_fraction=0.0)
    told = []
    result = Trainer(of_shards(tmp_path, steps=2), on_event=told.append).run()
    assert result.validation is None
    assert events.Warned("there are no validation tokens: nothing is validated") in told


def test_validation_data_of_its_own(folder):
    result = Trainer(config(folder, val_data=str(folder / "ids.npy"), steps=2)).run()
    assert result.validation.loss > 0
    assert result.validation.bits_per_byte is None


def test_the_seed_decides(folder):
    def weights(seed, out):
        Trainer(config(folder, seed=seed, out=str(folder / out), steps=2)).run()
        return torch.cat([p.flatten() for p in load_model(folder / out).model.parameters()])

    assert torch.equal(weights(1, "a"), weights(1, "b"))
    assert not torch.equal(weights(1, "c"), weights(2, "d"))


def test_metrics_are_json_lines(folder):
    Trainer(config(folder)).run()
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_metrics_have_the_rates_of_their_step(folder):
    settings = config(folder, matrix_lr=0.5, head_lr=0.25, schedule="linear", decay_fraction=1.0)
    Trainer(settings).run()
    for row in read_metrics(folder / "run" / "metrics.jsonl"):
        left = (6 - row["step"] + 1) / 6  # the first step has the whole rate, the last a sixth
        assert row["lr_matrices"] == pytest.approx(0.5 * left)
        assert row["lr_head"] == pytest.approx(0.25 * left)


def notes(told):
    return [event.message for event in told if isinstance(event, events.Warned)]


def test_epochs_are_counted(folder):
    told = []
    Trainer(config(folder, steps=6), on_event=told.append).run()
    assert told[0].epochs == 6 * 4 * 16 / 2000
    assert not any("times over" in note for note in notes(told))
    told = []
    many = config(folder, batch_size=128, steps=5, out=str(folder / "many"))
    Trainer(many, on_event=told.append).run()
    assert told[0].epochs == pytest.approx(5.12)
    assert any("the data is read 5.1 times over" in note for note in notes(told))


def stopped_at_once(settings):
    told = []

    def listen(event):
        told.append(event)
        if isinstance(event, events.Stepped):
            trainer.stop()

    trainer = Trainer(settings, on_event=listen)
    trainer.run()
    return told


def test_more_than_a_day_is_told_before_it_begins(folder):
    told = stopped_at_once(config(folder, steps=10**10))
    assert told[0].seconds > 86_400
    before = told[: [type(event) for event in told].index(events.Stepped)]
    assert any("days on this machine" in note for note in notes(before))
    assert not any("days on" in note for note in notes(stopped_at_once(config(
        folder, steps=10, out=str(folder / "short")
    ))))  # fmt: skip


def test_rates_are_those_of_the_optimizers(folder):
    told = []
    trainer = Trainer(config(folder, optimizer="adamw", matrix_lr=1e-3), on_event=told.append)
    trainer.run()
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    assert told[0].rates == {group["name"]: group["base_lr"] for group in groups}
    assert told[0].rates["matrices"] == 1e-3
    default = 1e-3 * (32 / 768) ** -0.5 * 0.5
    assert told[0].rates["head"] == pytest.approx(default)


def test_the_given_rate_moves_the_weights(folder):
    # Adam's first step is lr in every weight that has a gradient, whatever the gradient is.
    rates = {"embedding_lr": 2e-3, "head_lr": 3e-3, "matrix_lr": 1e-3}
    trainer = Trainer(
        config(
            folder, optimizer="adamw", **rates, weight_decay=0.0, steps=1, warmup_steps=0,
            schedule="constant", d_model=64,
        )
    )  # fmt: skip
    trainer.run()
    begun = Transformer(trainer.plan.model, generator=torch.Generator().manual_seed(0))
    before = begun.state_dict()
    for name, weight in trainer.model.state_dict().items():
        kind = {"token_embeddings": "embedding_lr", "lm_head": "head_lr"}.get(
            name.partition(".")[0], "matrix_lr"
        )
        if (moved := (weight - before[name]).abs().max()) and weight.ndim == 2:
            assert moved == pytest.approx(rates[kind], rel=1e-3), name


def test_rows_are_told_of_slow_steps_only(folder, monkeypatch):
    def rows(seconds):
        monkeypatch.setattr("bytemill.lm.train.loop.SLOW_SECONDS", seconds)
        told = []
        out = str(folder / f"slow{seconds}")
        settings = config(folder, micro_batch_size=2, batch_size=8, steps=2, out=out)
        Trainer(settings, on_event=told.append).run()
        return [(e.step, e.rows, e.batch_size) for e in told if isinstance(e, events.RowsDone)]

    assert rows(1000.0) == []
    assert rows(0.0) == [(step, n, 8) for step in (1, 2) for n in (2, 4, 6)]


def test_a_limit_of_time_ends_a_run_with_low_rates(folder, monkeypatch):
    # Each look at the clock takes 3 ms, whatever else the machine does.
    clock = types.SimpleNamespace(perf_counter=itertools.count(0.0, 0.003).__next__)
    monkeypatch.setattr("bytemill.lm.train.loop.time", clock)
    told = []
    settings = config(folder, steps=10**6, minutes=0.03, warmup_steps=0, checkpoint_every=10**6)
    result = Trainer(settings, on_event=told.append).run()
    steps = [event for event in told if isinstance(event, events.Stepped)]
    assert result.is_finished and 5 < result.step == steps[-1].step < 10**6
    assert steps[0].lr_multiplier == 1.0 and steps[-1].lr_multiplier < 0.3
    # Goes on from there: it is over.
    again = Trainer(settings, resume=True).run()
    assert (again.step, again.is_finished) == (result.step, True)


def test_a_run_keeps_its_dial(folder):
    settings = config(folder, steps=None, batch_size=None, depth=1)
    stopped_at_once(settings)
    last = CheckpointStore(folder / "run").last()
    assert last.extra["dial"] == "cpu"
    edit_state(last.path, lambda s: {**s, "extra": {**s["extra"], "dial": "gpu"}})
    # The plan is made with it, whatever the device is now: here it does not go with the batches.
    with pytest.raises(ValueError, match="batch_size=32, but this loader 1024"):
        Trainer(settings, resume=True).run()
