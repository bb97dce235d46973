"""A run's checkpoints: kept, found, checked, and whole whenever the process is killed."""

import errno
import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import safetensors

from bytemill.lm import ModelConfig
from bytemill.lm.checkpoint import state
from bytemill.lm.checkpoint.one_file import CheckpointStore, find_checkpoint, load_model
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from tests.support.lm_runs import edit_state, make_shards, tiny_model


def save(store, step, loss=None, model=None):
    model = model or tiny_model(seed=step)
    optimizers = build_optimizers(model, OptimConfig())
    metrics = {} if loss is None else {"val_loss": loss}
    return store.save(
        step, model, optimizers, model_config=model.config.to_dict(), metrics=metrics,
        extra={"loader": {"at": step}},
    )  # fmt: skip


def test_comes_back(tmp_path):
    store = CheckpointStore(tmp_path)
    model = tiny_model()
    optimizers = build_optimizers(model, OptimConfig())
    model.loss(*torch.randint(64, (2, 2, 8))).backward()
    for optimizer in optimizers:
        optimizer.step()
    path = store.save(5, model, optimizers, model_config=model.config.to_dict(), extra={"a": 1})
    drawn = torch.rand(3)
    assert path == tmp_path / "checkpoints" / "step-00000005"
    found = store.last()
    assert (found.step, found.extra, found.metrics) == (5, {"a": 1}, {})
    assert ModelConfig.from_dict(found.model_config) == model.config
    other = tiny_model(seed=3)
    new = build_optimizers(other, OptimConfig())
    found.load_weights(other)
    found.load_training(new)
    before, after = dict(model.state_dict()), dict(other.state_dict())
    assert state.pack_optimizers(optimizers, before) == state.pack_optimizers(new, after)
    assert state.digest(before) == state.digest(after)
    assert torch.equal(torch.rand(3), drawn), "the random generator goes on from where it was"


def test_the_last_and_the_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2)
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.0), (10, None)):
        save(store, step, loss)
    assert store.steps() == [2, 4, 10]
    assert (store.best().step, store.last().step) == (2, 10)
    assert sorted(p.name for p in store.folder.iterdir())[0] == "step-00000002", "no hidden ones"
    save(store, 11, 0.5)
    assert store.steps() == [10, 11]


def test_a_model_for_use(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=3)
    models = {step: tiny_model("cs336", seed=step) for step in (1, 2, 3)}
    for step, loss in ((1, 2.0), (2, 1.0), (3, 3.0)):
        path = save(store, step, loss, models[step])
    ids = torch.randint(64, (1, 8))
    for which, step in (("best", 2), ("last", 3), (1, 1)):
        loaded = load_model(tmp_path, which=which)
        assert (loaded.step, loaded.config, loaded.tokenizer) == (step, models[1].config, None)
        assert torch.equal(loaded.model(ids), models[step](ids))
        assert not loaded.model.training
        assert not any(p.requires_grad for p in loaded.model.parameters())
    assert load_model(path).step == 3
    tokenizer = make_shards(tmp_path)
    loaded = load_model(path, dtype=torch.bfloat16)
    assert loaded.tokenizer == tokenizer
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}


def test_every_name_of_a_folder_finds_the_model_and_its_tokenizer(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    save(store, 3)
    path = save(store, 4)
    tokenizer = make_shards(tmp_path)
    for folder, name, step in (
        (tmp_path, ".", 4),
        (tmp_path, "checkpoints", 4),
        (tmp_path, "checkpoints/step-00000003", 3),
        (path.parent, ".", 4),
        (path.parent, "step-00000003", 3),
        (path.parent, "..", 4),
        (path, ".", 4),
        (path, "../step-00000003", 3),
        (tmp_path.parent, tmp_path.name, 4),
    ):
        monkeypatch.chdir(folder)
        loaded = load_model(name, which="last")
        assert (loaded.step, loaded.tokenizer) == (step, tokenizer), (folder, name)


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 4)
    store.path(9).mkdir()
    assert (store.steps(), store.last().step, load_model(tmp_path).step) == ([4], 4, 4)
    save(store, 9)
    assert store.steps() == [4, 9]
    (store.path(9) / "state.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"delete the folder .*step-00000009"):
        store.last()


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint is there"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint is there"):
        load_model(tmp_path / "none")
    file = tmp_path / "model.pt"
    file.write_bytes(b"x")
    with pytest.raises(ValueError, match="a file, not the folder"):
        load_model(file)
    save(CheckpointStore(tmp_path), 4)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 5; there are 4"):
        load_model(tmp_path, which=5)
    with pytest.raises(ValueError, match='which=\'worst\': it must be "best", "last" or a step'):
        find_checkpoint(tmp_path, "worst")
    with pytest.raises(ValueError, match="keep_last=0"):
        CheckpointStore(tmp_path, keep_last=0)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damage_is_found(name, damage, tmp_path):
    folder = save(CheckpointStore(tmp_path), 1)
    file = folder / name
    data = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 3] ^= 0x80  # no UTF-8 any more, in state.json
        file.write_bytes(data)
    else:
        file.unlink()
    kind = FileNotFoundError if (name, damage) == ("state.json", "remove") else ValueError
    with pytest.raises(kind, match=name):
        found = find_checkpoint(folder)
        model = tiny_model()
        found.load_weights(model)
        found.load_training(build_optimizers(model, OptimConfig()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "'other', not 'bytemill-checkpoint'"),
        ({"version": 2}, "version 2 of the format.*update bytemill"),
        ({"step": "1"}, "not what they should be"),
        ({"new": 1}, "its fields are .*new"),
        ({"files": {"../../x": ""}}, "not what they should be"),
    ],
)
def test_foreign_states(change, words, tmp_path):
    folder = save(CheckpointStore(tmp_path), 1)
    edit_state(folder, lambda fields: {**fields, **change})
    with pytest.raises(ValueError, match=words):
        find_checkpoint(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields.update(step=2),
        lambda fields: fields["metrics"].update(val_loss=0.5),
        lambda fields: fields["extra"]["loader"].update(at=7),
        lambda fields: fields["model_config"].update(rope_theta=500.0),
        lambda fields: fields["optimizer"]["list"].reverse(),
        lambda fields: fields.pop("sha256"),
        lambda fields: fields.update(sha256="0" * 64),
    ],
)
def test_an_edited_state_is_found(tmp_path, edit):
    folder = save(CheckpointStore(tmp_path), 1, loss=1.5)
    file = folder / "state.json"
    fields = json.loads(file.read_text())
    own = {name: value for name, value in fields.items() if name != "sha256"}
    text = json.dumps(own, sort_keys=True, separators=(",", ":"))
    assert fields["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    edit(fields)
    file.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"state.json: .*changed, truncated or damaged"):
        find_checkpoint(folder)


@pytest.mark.parametrize("damage", ["weights", "optimizer", "groups", "rng"])
def test_a_failed_load_changes_nothing(tmp_path, damage):
    folder = save(CheckpointStore(tmp_path), 1)
    model = tiny_model("cs336" if damage == "weights" else "gpt", seed=8)
    optimizers = build_optimizers(model, OptimConfig())
    model.loss(*torch.randint(64, (2, 2, 8))).backward()
    for one in optimizers:
        one.step()
    found = find_checkpoint(folder)
    if damage == "optimizer":
        path = folder / "optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "groups":  # the second optimizer does not fit, the first one does
        optimizers[1].add_param_group({"params": [torch.nn.Parameter(torch.ones(2, 2))]})
    elif damage == "rng":
        tensors = safetensors.torch.load_file(folder / "optimizer.safetensors")
        tensors["rng.cpu"] = tensors["rng.cpu"][:100].clone()
        files = {**found.files, "optimizer.safetensors": state.write_file(
            folder / "optimizer.safetensors", tensors)}  # fmt: skip
        edit_state(folder, lambda fields: {**fields, "files": files})
        found = find_checkpoint(folder)

    def everything():
        tensors = {**model.state_dict(), "rng": torch.get_rng_state()}
        data = state.pack_optimizers(optimizers, tensors)
        return state.digest(tensors), data

    before = everything()
    with pytest.raises(ValueError, match=r"\.safetensors"):
        found.load(model, optimizers)
    assert everything() == before


def test_all_is_flushed_before_it_has_a_name(tmp_path, flushes, monkeypatch):
    rename, at_rename = Path.rename, []

    def renamed(path, target):
        if path.name.startswith(".step"):
            at_rename.extend(flushes)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renamed)
    folder = save(CheckpointStore(tmp_path), 1)
    written = {path.stat().st_ino for path in [folder, *folder.iterdir()]}
    assert len(written) == 4
    assert written <= set(at_rename)
    assert flushes[-1] == folder.parent.stat().st_ino, "the new name, too"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["weights", "optimizer", "metrics"])
def test_what_is_not_finite_is_not_saved(tmp_path, where, value):
    store = CheckpointStore(tmp_path, keep_last=1)
    save(store, 1)
    model = tiny_model()
    optimizers = build_optimizers(model, OptimConfig())
    model.loss(*torch.randint(64, (2, 2, 8))).backward()
    for optimizer in optimizers:
        optimizer.step()
    metrics = {}
    with torch.no_grad():
        if where == "weights":
            model.layers[1].ffn.w1.weight[3, 4] = value
        elif where == "optimizer":
            optimizers[1].state[model.layers[0].attn.q_proj.weight]["momentum_buffer"][0, 0] = value
        else:
            metrics["val_loss"] = value
    words = {"weights": "layers.1.ffn.w1.weight", "optimizer": "optimizer.1", "metrics": "step 2"}
    with pytest.raises(ValueError, match=words[where]):
        store.save(2, model, optimizers, model_config=model.config.to_dict(), metrics=metrics)
    assert [path.name for path in store.folder.iterdir()] == ["step-00000001"]


def test_a_step_is_saved_once(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 1)
    with pytest.raises(FileExistsError, match="the step has a checkpoint"):
        save(store, 1)


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    save(store, 1)
    write = safetensors.torch.save_file
    calls = []

    def full(tensors, path, metadata):
        # As the library does it: the header is written, then the error comes.
        calls.append(path)
        if len(calls) == 1:
            return write(tensors, path, metadata)
        path.write_bytes(b"half")
        raise safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        save(store, 2)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(calls[1])
    assert [path.name for path in store.folder.iterdir()] == ["step-00000001"]
    assert load_model(tmp_path, which="last").step == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_kills_while_saving_lose_nothing(tmp_path):
    # A child saves as fast as it can, and is killed at any moment; whatever bears a step's name
    # must then be whole, and the last step that the child told of must be there.
    chance = random.Random(0)
    store = CheckpointStore(tmp_path, keep_last=1)
    step = 0
    half_written = 0
    for _ in range(25):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                while True:
                    step += 1
                    save(store, step, loss=chance.random(), model=MODEL)
                    os.write(write, b"%d\n" % step)
            finally:
                os._exit(1)
        os.close(write)
        told = os.read(read, 100)
        time.sleep(chance.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(read, 1 << 16):
            told += more
        os.close(read)
        step = int(told.split()[-1])
        there = store.steps()
        assert step <= there[-1] <= step + 1, "the last save that was told of"
        step = there[-1]
        for one in there:
            found = find_checkpoint(tmp_path, one)
            found.load_weights(MODEL)
            found.load_training(build_optimizers(MODEL, OptimConfig()))
            assert found.extra == {"loader": {"at": one}}
        assert load_model(tmp_path).step in there
        half_written += any(path.name.startswith(".") for path in store.folder.iterdir())
        store.clean()
        assert [path.name for path in store.folder.glob(".*")] == []
    assert half_written > 5, "the kills came in the middle of saving"


MODEL = tiny_model()
