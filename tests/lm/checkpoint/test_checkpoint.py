"""`save_checkpoint` and `load_checkpoint`: one file, any module and optimizers, no pickle."""

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import safetensors

from bytemill.lm.checkpoint import state
from bytemill.lm.checkpoint.one_file import load_checkpoint, save_checkpoint
from bytemill.lm.optim.adamw import AdamW
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from bytemill.lm.optim.muon import Muon
from tests.support.lm_runs import tiny_model

MAKERS = {
    "torch": lambda model: torch.optim.AdamW(model.parameters(), betas=(0.8, 0.95)),
    "own": lambda model: AdamW(model.parameters(), lr=1e-3),
    "muon": lambda model: build_optimizers(model, OptimConfig(kind="muon")),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
}


def train(model, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randint(64, (2, 8), generator=generator)
        model.zero_grad()
        model.loss(x, x.roll(1)).backward()
        for one in state.as_list(optimizer):
            one.step()


def everything(model, optimizer):
    tensors = dict(model.state_dict())
    data = state.pack_optimizers(optimizer, tensors)
    return state.digest(tensors), data


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("as_file", [False, True])
def test_training_goes_on_as_if_nothing_had_been(name, as_file, tmp_path):
    model = tiny_model()
    optimizer = MAKERS[name](model)
    train(model, optimizer, 3, seed=1)
    if as_file:
        out = io.BytesIO()
        save_checkpoint(model, optimizer, 3, out)
        src = io.BytesIO(out.getvalue())
    else:
        src = tmp_path / "a.checkpoint"
        src.write_bytes(b"an older one")
        save_checkpoint(model, optimizer, 3, src)
        assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]
    other = tiny_model(seed=9)
    new = MAKERS[name](other)
    assert load_checkpoint(src, other, new) == 3
    assert everything(other, new) == everything(model, optimizer)
    train(model, optimizer, 3, seed=2)
    train(other, new, 3, seed=2)
    assert everything(other, new) == everything(model, optimizer)


def test_groups_keep_their_types():
    model = tiny_model()
    optimizer = MAKERS["torch"](model)
    out = io.BytesIO()
    save_checkpoint(model, optimizer, 0, out)
    before = optimizer.state_dict()["param_groups"]
    load_checkpoint(io.BytesIO(out.getvalue()), model, optimizer)
    after = optimizer.state_dict()["param_groups"]
    assert after == before
    assert isinstance(after[0]["betas"], tuple)


def test_the_file_is_a_safetensors_file(tmp_path):
    model = tiny_model()
    save_checkpoint(model, MAKERS["torch"](model), 7, tmp_path / "a")
    with safetensors.safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata()["iteration"] == "7"
        saved = file.get_tensor("model.layers.0.attn.q_proj.weight")
    assert torch.equal(saved, model.layers[0].attn.q_proj.weight)


def test_a_compiled_model_has_the_same_names(tmp_path):
    model = tiny_model()
    save_checkpoint(torch.compile(model), MAKERS["torch"](model), 1, tmp_path / "a")
    other = tiny_model(seed=4)
    assert load_checkpoint(tmp_path / "a", other, MAKERS["torch"](other)) == 1
    assert state.digest(other.state_dict()) == state.digest(model.state_dict())


def test_truncated_and_foreign_files(tmp_path):
    model = tiny_model()
    optimizer = MAKERS["torch"](model)
    train(model, optimizer, 1, seed=0)
    path = tmp_path / "a"
    save_checkpoint(model, optimizer, 1, path)
    data = path.read_bytes()
    for length in (0, 4, 8, 200, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"a: .*truncated, or not of save_checkpoint"):
            load_checkpoint(path, model, optimizer)
    path.write_bytes(data.replace(b'bytemill-checkpoint-file"', b'bytemill-checkpoint-pile"'))
    with pytest.raises(ValueError, match=r"bytemill-checkpoint-pile.*not a checkpoint of bytemill"):
        load_checkpoint(path, model, optimizer)
    torch.save(model.state_dict(), path)
    with pytest.raises(ValueError, match=r"a: .*checkpoint"):
        load_checkpoint(path, model, optimizer)
    with pytest.raises(FileNotFoundError, match="none"):
        load_checkpoint(tmp_path / "none", model, optimizer)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layer": 3}, "layers.2.attn.q_proj.weight is missing.* and .* more"),
        ({"n_layer": 1}, "layers.1.attn.k_proj.weight is not the model's"),
        ({"d_ff": 64}, r"ffn.w1.weight has shape \(128, 32\) instead of \(64, 32\)"),
    ],
)
def test_another_model(changes, words, tmp_path):
    model, other = tiny_model(), tiny_model(**changes)
    save_checkpoint(model, MAKERS["torch"](model), 1, tmp_path / "a")
    before = state.digest(other.state_dict())
    with pytest.raises(ValueError, match=f"of another model: .*{words}"):
        load_checkpoint(tmp_path / "a", other, MAKERS["torch"](other))
    assert state.digest(other.state_dict()) == before


def test_another_optimizer(tmp_path):
    model = tiny_model()
    save_checkpoint(model, MAKERS["torch"](model), 1, tmp_path / "a")
    other = tiny_model(seed=3)
    several = MAKERS["muon"](other)
    before = everything(other, several)
    with pytest.raises(ValueError, match="1 optimizers, not of 2"):
        load_checkpoint(tmp_path / "a", other, several)
    assert everything(other, several) == before, "the weights, too"
    save_checkpoint(model, MAKERS["muon"](model)[0], 1, tmp_path / "a")
    with pytest.raises(ValueError, match="parameter group"):
        load_checkpoint(tmp_path / "a", model, MAKERS["torch"](model))


@pytest.mark.parametrize("as_file", [False, True])
def test_tied_weights(tmp_path, as_file):
    def make(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9))
        model[1].weight = model[0].weight
        model.register_buffer("part", torch.arange(12.0)[3:7])
        model.register_buffer("whole", model.part.view(2, 2))
        return model

    model, other = make(0), make(1)
    optimizer = torch.optim.AdamW(model.parameters())
    file = tmp_path / "a" if as_file else io.BytesIO()
    save_checkpoint(model, optimizer, 3, file)
    if not as_file:
        file.seek(0)
    assert load_checkpoint(file, other, torch.optim.AdamW(other.parameters())) == 3
    assert other[1].weight is other[0].weight
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    state.write_file(tmp_path / "b", model.state_dict())
    assert torch.equal(state.read_file(tmp_path / "b")["1.weight"], model[0].weight)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("maker", [AdamW, Muon, torch.optim.AdamW, torch.optim.SGD])
def test_numpys_numbers(kind, maker):
    ours, plain = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    rate = kind(1) if kind is np.int64 else kind(0.25)
    optimizers = maker([ours], lr=rate), maker([plain], lr=rate.item())
    for weight, one in zip((ours, plain), optimizers, strict=True):
        weight.grad = torch.eye(3)
        one.step()
    assert torch.equal(ours, plain)
    file = io.BytesIO()
    model = torch.nn.Module()
    model.weight = ours
    save_checkpoint(model, optimizers[0], np.int64(7), file)
    file.seek(0)
    assert load_checkpoint(file, model, optimizers[0]) == 7
    found = optimizers[0].param_groups[0]["lr"]
    assert found == rate.item() and type(found) in (int, float)
    assert OptimConfig(matrix_lr=rate) == OptimConfig(matrix_lr=float(rate))
    assert type(OptimConfig(matrix_lr=rate).matrix_lr) is float


def test_what_cannot_be_saved():
    model = tiny_model()
    optimizer = MAKERS["torch"](model)
    optimizer.param_groups[0]["secret"] = object()
    with pytest.raises(TypeError, match=r"optimizer\.0\.param_groups\.0\.secret: <object"):
        save_checkpoint(model, optimizer, 0, io.BytesIO())


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    model = tiny_model()
    optimizer = MAKERS["torch"](model)
    save_checkpoint(model, optimizer, 1, tmp_path / "a")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(model, optimizer, 2, tmp_path / "a")
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "a", model, optimizer) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "value", [{}, [], (), {1: (2, [None])}, {"a": {"b": (True, 1.5, "x")}}, (1, (2,)), float("inf")]
)
def test_plain_data_comes_back(value):
    tensors = {}
    back = state.unflatten(state.flatten(value, "x", tensors), tensors)
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize("data", [{"tensor": "y"}, {"list": 3}, {"other": []}, {"a": 1, "b": 2}])
def test_damaged_data(data):
    with pytest.raises(ValueError, match="damaged"):
        state.unflatten(data, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_saved(tmp_path, value):
    model = tiny_model()
    optimizer = MAKERS["own"](model)
    train(model, optimizer, 1, seed=1)
    path = tmp_path / "a.checkpoint"
    # A mask of infinities is a buffer, and no weight.
    model.register_buffer("mask", torch.full((2, 2), -float("inf")))
    save_checkpoint(model, optimizer, 1, path)
    before = path.read_bytes()
    weight = model.layers[1].ffn.w1.weight
    for place, name in (
        (weight.detach(), "the weights: 1 of .*layers.1.ffn.w1.weight"),
        (optimizer.state[weight]["exp_avg"], "the optimizer's state: 1 of .*exp_avg"),
    ):
        good = place[3, 4].clone()
        place[3, 4] = value
        with pytest.raises(state.NonFiniteStateError, match=name):
            save_checkpoint(model, optimizer, 2, path)
        place[3, 4] = good
    assert path.read_bytes() == before
