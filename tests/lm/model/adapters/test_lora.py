"""Low-rank adapters: what they compute and train, merged and decoded, saved and begun from."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.adapters.lora import TARGETS, Lora, add_adapters, has_adapters, merged
from bytemill.lm.model.residual.block import Block
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from tests.support.models import GPT2, ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401

T = 20
MODELS = [("cs336", {}), ("gpt", {}), ("nanochat-2026", {"n_layer": 3}), ("cs336", GPT2)]


def adapted(preset="cs336", lora=None, *, values=True, **fields):
    """A model with adapters, all of whose numbers matter."""
    model = small_model(preset, **fields)
    generator = torch.Generator().manual_seed(7)
    add_adapters(model, lora or Lora(rank=3, alpha=6.0), generator)
    if values:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("lora_b"):
                    weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return model


def assert_near(got, expected):
    assert float((got - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize(("preset", "fields"), MODELS, ids=str)
def test_new_adapters_change_nothing(preset, fields):
    plain, model = small_model(preset, **fields), adapted(preset, values=False, **fields)
    ids = ids_like(model, 2, T)
    with torch.no_grad():
        assert torch.equal(model(ids), plain(ids))


@pytest.mark.parametrize(("preset", "fields"), MODELS, ids=str)
def test_merged_is_the_same_model(preset, fields):
    model = adapted(preset, **fields).eval()
    ids = ids_like(model, 2, T)
    plain = merged(model)
    assert not has_adapters(plain) and not plain.training
    with torch.no_grad():
        assert_near(plain(ids), model(ids))
        changed = float((model(ids) - small_model(preset, **fields)(ids)).abs().max())
    assert changed > 0.1  # the size of what the comparison is about
    # By the definition: W + alpha / rank B A.
    layer, base = model.layers[1].ffn.w2, small_model(preset, **fields)
    expected = base.layers[1].ffn.w2.weight + 2.0 * layer.lora_b @ layer.lora_a
    torch.testing.assert_close(plain.layers[1].ffn.w2.weight, expected)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("preset", "fields"), MODELS, ids=str)
def test_decoding_is_with_merged_weights(preset, fields, rows, monkeypatch):
    model = adapted(preset, **fields).eval()
    ids = ids_like(model, rows, T)
    with torch.no_grad():
        logits = model(ids)
    decoder = Decoder(DecodingWeights(model))
    got = [decoder.prefill(ids[:, :5].tolist())]
    monkeypatch.setattr(Block, "forward", lambda *_: pytest.fail("a block was called"))
    got += [decoder.step(ids[:, at]).clone() for at in range(5, T)]
    assert_near(torch.stack(got, 1), logits[:, 4:])


def test_only_adapters_are_trained():
    model = adapted("gpt", values=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names and all(name.endswith(("lora_a", "lora_b")) for name in names)
    ids = ids_like(model, 2, T)
    losses = []
    for kind in ("adamw", "muon"):
        optimizers = build_optimizers(model, OptimConfig(kind=kind))
        trained = [w for o in optimizers for g in o.param_groups for w in g["params"]]
        assert sum(w.numel() for w in trained) == sum(before[name].numel() for name in names)
        for _ in range(6):
            loss = model.loss(ids[:, :-1], ids[:, 1:])
            losses.append(loss.item())
            model.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    for name, value in model.state_dict().items():
        # A and B: the first gradient of A is 0, as B is.
        assert torch.equal(value, before[name]) == (name not in names), name


def test_gradients_are_those_of_the_product():
    """Of L(W + s B A): dL/dB = s G A^T, dL/dA = s B^T G, with G = dL/dW of the merged model."""
    model = adapted("cs336").double()
    plain = merged(model)
    ids = ids_like(model, 2, T)
    for each in (model, plain):
        each.loss(ids[:, :-1], ids[:, 1:]).backward()
    for name in ("attn.q_proj", "ffn.w3"):
        layer = model.layers[0].get_submodule(name)
        grad = plain.layers[0].get_submodule(name).weight.grad
        assert layer.weight.grad is None
        # fp32 sums in the loss.
        close = {"rtol": 1e-4, "atol": 1e-7}
        torch.testing.assert_close(layer.lora_b.grad, 2.0 * grad @ layer.lora_a.T, **close)
        torch.testing.assert_close(layer.lora_a.grad, 2.0 * layer.lora_b.T @ grad, **close)


def test_targets():
    model = small_model()
    names = add_adapters(model, Lora(targets=("q_proj", "v_proj")))
    assert names == [f"layers.{i}.attn.{n}_proj" for i in range(2) for n in "qv"]
    assert type(model.layers[0].ffn.w1).__name__ == "Linear"
    assert len(add_adapters(small_model(), Lora())) == 2 * len(TARGETS)
    assert len(add_adapters(small_model("gpt"), Lora())) == 2 * (len(TARGETS) - 1)
    with pytest.raises(ValueError, match="has adapters already"):
        add_adapters(model, Lora())
    with pytest.raises(ValueError, match=r"lora_targets='w3': the model has no 'w3'"):
        add_adapters(small_model("gpt"), Lora(targets=("w3",)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "lora_rank=0"),
        ({"alpha": 0.0}, "lora_alpha=0"),
        ({"alpha": float("nan")}, "lora_alpha=nan"),
        ({"targets": ("q_proj", "head")}, "there is no 'head'; the matrices are q_proj"),
        ({"targets": ()}, "lora_targets=''"),
    ],
)
def test_bad_sizes(fields, message):
    with pytest.raises(ValueError, match=message):
        Lora(**fields)


def test_checkpoints(tmp_path):
    model = adapted("gpt")
    store = CheckpointStore(tmp_path)
    optimizers = build_optimizers(model, OptimConfig())
    store.save(3, model, optimizers, model_config=model.config.to_dict())
    ids = ids_like(model, 1, T)
    with torch.no_grad():
        expected = model(ids)
        # For use: merged.
        loaded = load_model(tmp_path).model
        assert not has_adapters(loaded)
        assert_near(loaded(ids), expected)
    # To go on: the adapters themselves.
    again = adapted("gpt", seed=5)
    checkpoint = store.last()
    checkpoint.load(again, build_optimizers(again, OptimConfig()))
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    # To begin with: merged into the frozen weights, and new adapters.
    fresh = adapted("gpt", seed=5, values=False)
    checkpoint.begin(fresh)
    with torch.no_grad():
        assert_near(fresh(ids), expected)
    assert not fresh.layers[0].attn.q_proj.lora_b.any()
    with pytest.raises(ValueError, match="lora_a"):
        checkpoint.load(small_model("gpt"), [])


def test_what_is_exported_is_merged(tmp_path):
    from bytemill.lm.interchange.huggingface import export
    from bytemill.lm.interchange.taking_in import take_in

    model = adapted("gpt").eval()
    export(model, None, tmp_path / "hf")
    take_in(tmp_path / "hf", tmp_path / "run")
    ids = ids_like(model, 1, T)
    with torch.no_grad():
        assert_near(load_model(tmp_path / "run").model(ids), model(ids))
