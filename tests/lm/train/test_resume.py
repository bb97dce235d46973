"""A run that is killed and goes on ends with the same bits as one that is not."""

import hashlib
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm.batches.tokens import open_tokens
from bytemill.lm.checkpoint import state
from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.train import TrainConfig, Trainer, events
from bytemill.lm.train.metrics import read_metrics
from tests.support.killed_runs import killed
from tests.support.lm_runs import BOS, TEXT, config, documents, edit_state, make_ids, make_shards


def fingerprint(trainer):
    """All that decides what comes next, by hash, and the batch that does."""
    tensors = dict(trainer.model.state_dict())
    data = state.pack_optimizers(trainer.optimizers, tensors)
    x, y = trainer._loop.batches.next_batch()
    rng = torch.get_rng_state()
    return {
        "weights and optimizer": state.digest(tensors),
        "groups": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
        "next batch": state.digest({"x": x, "y": y}),
        "random generator": state.digest({"rng": rng}),
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("optimizer", "loader", "preset", "kill_at"),
    [
        ("muon", "documents", "gpt", 20),
        ("adamw", "windows", "cs336", 27),
        ("muon", "windows", "nanochat-2026", 27),
    ],
)
def test_forty_steps_equal_twenty_a_kill_and_twenty(optimizer, loader, preset, kill_at, tmp_path):
    make_shards(tmp_path)
    settings = config(
        tmp_path, data=str(tmp_path / "shards"), tokenizer=str(tmp_path / "tokenizer"), steps=40,
        optimizer=optimizer, loader=loader, preset=preset, checkpoint_every=20, eval_every=10,
        log_every=3, micro_batch_size=3, n_layer=3 if preset == "nanochat-2026" else 1,
    )  # fmt: skip
    straight = Trainer(settings.but(out=str(tmp_path / "straight")))
    straight.run()
    torch.manual_seed(12345)
    # Killed between the checkpoint at 20 and the end; what came after it is made again. (At step 20
    # itself the kill comes before the save: all is made again.)
    killed(Trainer, settings, kill_at)
    assert CheckpointStore(tmp_path / "run").steps() == ([20] if kill_at > 20 else [])
    if kill_at == 20:
        killed(Trainer, settings, 21, resume=True)
    told = []
    resumed = Trainer(settings, on_event=told.append, resume=True)
    resumed.run()
    assert told[0].step == 20
    assert fingerprint(resumed) == fingerprint(straight)
    files = [
        CheckpointStore(tmp_path / run).path(step) / name
        for step in (20, 40)
        for name in ("model.safetensors", "optimizer.safetensors")
        for run in ("run", "straight")
    ]
    for one, other in zip(files[::2], files[1::2], strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    rows = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("run", "straight")]
    for row in rows[0] + rows[1]:
        row.pop("tokens_per_second", None)
        row.pop("time")
    assert rows[0] == rows[1]


def stopping(settings, step):
    """A run that goes on, and is stopped at `step`."""

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == step:
            trainer.stop()

    trainer = Trainer(settings, on_event=listen, resume=True)
    return trainer


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("loader", ["documents", "windows"])
def test_stopped_anywhere(optimizer, loader, tmp_path):
    make_shards(tmp_path)
    settings = config(
        tmp_path, data=str(tmp_path / "shards"), tokenizer=str(tmp_path / "tokenizer"), steps=12,
        optimizer=optimizer, loader=loader, checkpoint_every=5, log_every=4,
    )  # fmt: skip
    straight = Trainer(settings.but(out=str(tmp_path / "straight")))
    straight.run()
    torch.manual_seed(999)
    for stop_at in (1, 5, 8, 9, 12):
        trainer = stopping(settings, stop_at)
        assert trainer.run().step == stop_at
    assert fingerprint(trainer) == fingerprint(straight)


@pytest.fixture
def folder(tmp_path):
    make_ids(tmp_path)
    Trainer(config(tmp_path, checkpoint_every=3)).run()
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"flops": 1e9}, {"matrix_lr": 0.1}, {"context_length": 8}, {"preset": "cs336"}],
)
def test_what_decides_the_weights_may_not_change(folder, changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name} was .* and is {value!r} now; leave it"):
        Trainer(config(folder, checkpoint_every=3, **changes), resume=True).run()


def test_a_finished_run_stays_finished(folder):
    before = (folder / "run" / "checkpoints").stat().st_mtime_ns
    result = Trainer(config(folder, keep_last=5, log_every=2), resume=True).run()
    assert (result.step, result.is_finished) == (6, True)
    assert result.checkpoint.name == "step-00000006"
    assert (folder / "run" / "checkpoints").stat().st_mtime_ns == before


def test_other_data(folder):
    make_ids(folder, n=1500)
    with pytest.raises(ValueError, match="n_tokens=2000"):
        Trainer(config(folder, checkpoint_every=3), resume=True).run()


def test_other_data_of_the_same_length(folder):
    ids = np.load(folder / "ids.npy")
    ids[1234] ^= 1
    np.save(folder / "ids.npy", ids)
    with pytest.raises(ValueError, match=r"ids.npy: these are not the tokens"):
        Trainer(config(folder, checkpoint_every=3), resume=True).run()
    ids[1234] ^= 1
    np.save(folder / "ids.npy", ids)
    assert Trainer(config(folder, checkpoint_every=3), resume=True).run().is_finished


def test_shards_in_another_order(tmp_path):
    tokenizer = make_shards(tmp_path)
    halves = [documents()[:30], documents()[30:]]
    for name, order in (("shards", halves), ("other", halves[::-1])):
        for i, half in enumerate(order):
            (tmp_path / f"{name}{i}.txt").write_text(BOS.join(["", *half]))
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        files = [tmp_path / f"{name}{i}.txt" for i in range(2)]
        tokenizer.encode_files(files, tmp_path / name, separator=BOS, separator_at="start")
    lengths = [sum(map(len, open_tokens(tmp_path / n).ids.arrays)) for n in ("shards", "other")]
    assert lengths[0] == lengths[1]
    settings = config(tmp_path, data=str(tmp_path / "shards"))
    Trainer(settings).run()
    with pytest.raises(ValueError, match="these are not the tokens"):
        Trainer(settings.but(data=str(tmp_path / "other")), resume=True).run()


def test_another_tokenizer(tmp_path):
    # With a bare array nothing but the run itself knows which tokenizer the ids are of.
    make_ids(tmp_path)
    own, other = (Tokenizer.train([TEXT], 280, [bos]) for bos in (BOS, "<|other|>"))
    for name, one in (("own", own), ("other", other)):
        one.save(tmp_path / name)
    Trainer(config(tmp_path, tokenizer=str(tmp_path / "own"))).run()
    with pytest.raises(ValueError, match=r"other'?: it is not the one that this run began with"):
        Trainer(config(tmp_path, tokenizer=str(tmp_path / "other")), resume=True).run()
    assert Tokenizer.load(tmp_path / "run" / "tokenizer") == own
    shutil.rmtree(tmp_path / "run" / "tokenizer")
    with pytest.raises(ValueError, match=f"began with the tokenizer of .* {own.fingerprint}"):
        Trainer(config(tmp_path, tokenizer=str(tmp_path / "other")), resume=True).run()
    assert Trainer(config(tmp_path, tokenizer=str(tmp_path / "own")), resume=True).run().is_finished


@pytest.mark.parametrize(("first", "later"), [(True, False), (False, True)])
def test_dtype_auto_stays_what_it_was(tmp_path, monkeypatch, first, later):
    make_ids(tmp_path)
    settings = config(tmp_path, dtype="auto", steps=2)
    monkeypatch.setattr("bytemill.lm.device.runtime.is_fast_at_bf16", lambda device: first)
    begun = stopping(settings, 1)
    assert not begun.run().is_finished
    monkeypatch.setattr("bytemill.lm.device.runtime.is_fast_at_bf16", lambda device: later)
    told = []
    resumed = Trainer(settings, on_event=told.append, resume=True)
    resumed.run()
    assert resumed.dtype == begun.dtype == (torch.bfloat16 if first else torch.float32)
    assert told[0].dtype == ("bfloat16" if first else "float32")


def test_another_machine_is_told(folder):
    def notes(**changes):
        told = []
        Trainer(config(folder, **changes), on_event=told.append, resume=True).run()
        return [event.message for event in told if isinstance(event, events.Warned)]

    assert not any("not the same" in note for note in notes())
    assert any("1 threads, torch" in note and "2 threads" in note for note in notes(threads=2))
    (note,) = notes(val_data=str(folder / "ids.npy"))
    assert "the validation tokens have changed" in note


def test_from_another_working_folder(tmp_path, monkeypatch):
    make_shards(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = config(Path(), data="shards", val_data="shards", tokenizer="tokenizer", out="run")
    stopping(settings, 3).run()
    monkeypatch.chdir(tmp_path / "elsewhere")
    saved = TrainConfig.load("../run/config.json")
    assert saved.data.path == str(tmp_path / "shards")
    assert Trainer(saved.but(out="../run"), resume=True).run().is_finished


def test_dropout_goes_on_to_the_same_bits(tmp_path):
    make_ids(tmp_path)
    settings = config(tmp_path, dropout=0.3, steps=8, n_layer=2)
    straight = Trainer(settings.but(out=str(tmp_path / "straight")))
    straight.run()
    torch.manual_seed(4321)
    for stop_at in (2, 5, 8):
        trainer = stopping(settings, stop_at)
        assert trainer.run().step == stop_at
        torch.rand(99)  # what others draw meanwhile
    assert fingerprint(trainer) == fingerprint(straight)
    without = Trainer(settings.but(out=str(tmp_path / "without"), dropout=0.0))
    without.run()
    assert fingerprint(without) != fingerprint(straight), "dropout does something"


def test_a_folder_that_was_moved(folder):
    (folder / "run").rename(folder / "elsewhere")
    (folder / "run").mkdir()
    moved = Trainer(config(folder, out=str(folder / "elsewhere")), resume=True)
    assert moved.run().step == 6


def test_a_truncated_checkpoint_is_named(folder):
    path = folder / "run" / "checkpoints" / "step-00000006" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model.safetensors: .*delete the folder .*step-00000006"):
        Trainer(config(folder), resume=True).run()
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert Trainer(config(folder), resume=True).run().is_finished, "as the message says"


@pytest.mark.parametrize("change", [{"config": {"data": 1}}, {"loop": {"rows": None}}, None])
def test_a_checkpoint_of_something_else(folder, change):
    edit_state(
        folder / "run" / "checkpoints" / "step-00000006",
        lambda fields: {**fields, "extra": {**fields["extra"], **change} if change else {}},
    )
    with pytest.raises(ValueError, match="a training run cannot go on from it"):
        Trainer(config(folder), resume=True).run()


def test_a_half_written_checkpoint_is_removed(folder):
    beside = folder / "run" / "checkpoints" / ".step-00000007.abc.tmp"
    beside.mkdir()
    (beside / "model.safetensors").write_bytes(b"half")
    Trainer(config(folder), resume=True).run()
    assert not beside.exists()


def test_a_torn_line_of_metrics(folder):
    path = folder / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 7, "lo')
    Trainer(config(folder), resume=True).run()
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4, 5, 6]
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1: b'nonsense'"):
        Trainer(config(folder), resume=True).run()
