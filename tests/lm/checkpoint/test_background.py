"""Checkpoints that a thread writes: what they hold, who waits for them, what a kill leaves."""

import errno
import signal
import threading
import time

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint import state
from bytemill.lm.checkpoint.background import Writer
from bytemill.lm.checkpoint.one_file import CheckpointStore, find_checkpoint, load_model
from bytemill.lm.train import Trainer, events
from tests.support.lm_runs import config, make_ids, tiny_model
from tests.support.ranks import forking


@pytest.fixture
def slow(monkeypatch):
    """A disk on which each file waits until it is let go; who writes, and how many at once."""
    write, seen = state.write_file, {"now": 0, "most": 0, "threads": set()}
    go = threading.Event()

    def slowly(path, tensors):
        seen["now"] += 1
        seen["most"] = max(seen["most"], seen["now"])
        seen["threads"].add(threading.current_thread().name)
        go.wait(300)
        try:
            return write(path, tensors)
        finally:
            seen["now"] -= 1

    monkeypatch.setattr(state, "write_file", slowly)
    return go, seen


def test_it_writes_what_was_there_when_it_was_asked(tmp_path, slow):
    go, _ = slow
    model = tiny_model(tie_embeddings=True)
    optimizer = torch.optim.AdamW(model.parameters())
    model.loss(*torch.zeros(2, 1, 4, dtype=torch.int64)).backward()
    optimizer.step()
    want = {name: weight.clone() for name, weight in model.state_dict().items()}
    moments = [s["exp_avg"].clone() for s in optimizer.state.values()]
    writer = Writer(CheckpointStore(tmp_path))
    written = writer.write(
        3, state.take_snapshot(model, optimizer), model_config=model.config.to_dict()
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    optimizer.step()
    assert not written.done()
    go.set()
    loaded = find_checkpoint(written.result(300))
    again, other = tiny_model(tie_embeddings=True), torch.optim.AdamW(model.parameters())
    loaded.load(again, other)
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in want.items())
    found = [s["exp_avg"] for s in other.state.values()]
    assert all(map(torch.equal, found, moments)) and len(found) == len(moments) > 3


def test_steps_go_on_meanwhile_and_the_end_waits(tmp_path, slow):
    make_ids(tmp_path)
    go, seen = slow
    order = []

    def listen(event):
        if isinstance(event, (events.Stepped, events.Saved)):
            order.append((type(event).__name__, event.step))
            if order[-1] == ("Stepped", 4):
                assert CheckpointStore(tmp_path / "run").steps() == []
                go.set()

    result = Trainer(config(tmp_path, checkpoint_every=3), on_event=listen).run()
    steps = [step for name, step in order if name == "Saved"]
    assert steps == [3, 6]
    assert order.index(("Saved", 3)) > order.index(("Stepped", 4))
    assert result.checkpoint.is_dir() and load_model(result.checkpoint).step == 6
    assert seen["most"] == 1
    assert all(name.startswith("bytemill-checkpoint") for name in seen["threads"])


def test_never_two_at_once(tmp_path, slow):
    make_ids(tmp_path)
    go, seen = slow
    threading.Timer(0.5, go.set).start()
    Trainer(config(tmp_path, checkpoint_every=1, keep_last=9)).run()
    assert CheckpointStore(tmp_path / "run").steps() == [1, 2, 3, 4, 5, 6]
    assert seen["most"] == 1


def test_stopping_waits(tmp_path, slow):
    make_ids(tmp_path)
    go, _ = slow
    threading.Timer(0.5, go.set).start()

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 4:
            signal.raise_signal(signal.SIGTERM)

    result = Trainer(config(tmp_path, checkpoint_every=3), on_event=listen).run()
    assert not result.is_finished
    assert CheckpointStore(tmp_path / "run").steps() == [3, 4]


def test_an_error_waits(tmp_path, slow):
    make_ids(tmp_path)
    go, _ = slow
    threading.Timer(0.5, go.set).start()

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 4:
            raise RuntimeError("a listener's own")

    with pytest.raises(RuntimeError, match="a listener's own"):
        Trainer(config(tmp_path, checkpoint_every=3), on_event=listen).run()
    assert CheckpointStore(tmp_path / "run").steps() == [3]


def full(path, tensors):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_an_error_of_the_writer_ends_the_run(tmp_path, monkeypatch):
    make_ids(tmp_path)
    monkeypatch.setattr(state, "write_file", full)
    made = []

    def listen(event):
        if isinstance(event, events.Stepped):
            made.append(event.step)
            time.sleep(0.05)

    with pytest.raises(OSError, match="No space left on device; make room and resume"):
        Trainer(config(tmp_path, checkpoint_every=2, steps=30), on_event=listen).run()
    assert made[-1] <= 4, "before the checkpoint after it"
    assert CheckpointStore(tmp_path / "run").steps() == []
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_an_error_of_the_writer_beside_another_is_told(tmp_path, monkeypatch):
    make_ids(tmp_path)
    monkeypatch.setattr(state, "write_file", full)
    told = []

    def listen(event):
        told.append(event)
        if isinstance(event, events.Stepped) and event.step == 3:
            raise RuntimeError("a listener's own")

    monkeypatch.setattr("bytemill.lm.train.loop.Loop._finish_saving", only_when_waiting())
    with pytest.raises(RuntimeError, match="a listener's own"):
        Trainer(config(tmp_path, checkpoint_every=2), on_event=listen).run()
    notes = [event.message for event in told if isinstance(event, events.Warned)]
    assert any("could not be written: [Errno 28] No space left" in note for note in notes)


def only_when_waiting():
    from bytemill.lm.train.loop import Loop

    finish = Loop._finish_saving
    return lambda self, *, wait=True: finish(self) if wait else None


def write_slowly(folder, is_half_written):
    """A run whose second checkpoint stays unfinished."""
    write = state.write_file

    def slowly(path, tensors):
        digest = write(path, tensors)
        if "step-00000004" in str(path):
            is_half_written.set()
            time.sleep(300)
        return digest

    state.write_file = slowly
    Trainer(config(folder, checkpoint_every=2, steps=10**6)).run()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_in_the_middle_leaves_the_one_before(tmp_path):
    make_ids(tmp_path)
    is_half_written = forking().Event()
    child = forking().Process(target=write_slowly, args=(tmp_path, is_half_written))
    child.start()
    assert is_half_written.wait(timeout=600)
    child.kill()
    child.join()
    store = CheckpointStore(tmp_path / "run")
    assert store.steps() == [2] and load_model(store.path(2)).step == 2
    assert list(store.folder.glob(".step-00000004.*.tmp")), "it was in the middle"
    settings = config(tmp_path, checkpoint_every=2, steps=10**6)
    trainer = Trainer(settings, resume=True, on_event=lambda e: stop_at(trainer, e, 5))
    assert trainer.run().step == 5
    assert not list(store.folder.glob(".*.tmp"))


def stop_at(trainer, event, step):
    if isinstance(event, events.Stepped) and event.step == step:
        trainer.stop()
