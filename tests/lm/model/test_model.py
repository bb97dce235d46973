"""The model against a NumPy reference in fp64, against transformers, and against itself."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import Transformer
from bytemill.lm.model.layers import Linear
from tests.support import reference
from tests.support.models import ids_like, small_config, small_model
from tests.support.one_thread import one_thread  # noqa: F401

PRESETS = ["cs336", "gpt"]
VARIATIONS = [
    {},
    {"n_kv_head": 4},
    {"n_kv_head": 1, "rope_theta": 500.0},
    {"qk_norm": True, "norm_weights": True, "embedding_norm": True, "logit_softcap": 3.0},
    {"mlp": "swiglu", "norm_eps": 0.1, "d_ff": 40},
    {"mlp": "relu2", "d_model": 24, "n_head": 2, "n_kv_head": 1},
]


def fp64_logits(model, ids):
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    return np.stack([reference.logits(model.config, state, row) for row in ids.numpy()])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("fields", VARIATIONS, ids=str)
def test_logits_equal_the_reference(name, fields):
    model = small_model(name, **fields)
    ids = ids_like(model, 3, 48)
    expected = fp64_logits(model, ids)
    assert np.abs(expected).max() > 0.5  # so that 1e-4 says something
    got = model(ids)
    assert got.dtype == torch.float32
    assert got.shape == (3, 48, 97)
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_fp64_logits_equal_the_reference_far_closer(name):
    model = small_model(name).double()
    model.rope.table = reference_table(model)
    ids = ids_like(model, 2, 20)
    with torch.no_grad():
        got = model.lm_head(model.hidden(ids)).numpy()
    expected = fp64_logits(model, ids)
    if (cap := model.config.logit_softcap) is not None:
        expected = cap * np.arctanh(expected / cap)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def reference_table(model):
    size, length = model.config.head_dim, model.config.context_length
    pairs = torch.arange(0, size, 2, dtype=torch.float64)
    angles = torch.arange(length)[:, None] * model.config.rope_theta ** (-pairs / size)
    return torch.stack((angles.cos(), angles.sin()), -1)


def test_equals_transformers_llama():
    transformers = pytest.importorskip("transformers")
    model = small_model("cs336", context_length=64)
    c = model.config
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=c.vocab_size,
            hidden_size=c.d_model,
            intermediate_size=c.d_ff,
            num_hidden_layers=c.n_layer,
            num_attention_heads=c.n_head,
            num_key_value_heads=c.n_kv_head,
            max_position_embeddings=c.context_length,
            rms_norm_eps=c.norm_eps,
            tie_word_embeddings=False,
        )
    )
    names = {
        "token_embeddings": "model.embed_tokens", "ln_final": "model.norm", "lm_head": "lm_head",
        "ln1": "input_layernorm", "ln2": "post_attention_layernorm", "output_proj": "o_proj",
        "attn": "self_attn", "ffn": "mlp", "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj",
        "layers": "model.layers",
    }  # fmt: skip
    state = {}
    for name, value in model.state_dict().items():
        if "q_proj" in name or "k_proj" in name:  # Llama turns halves, not neighbours
            heads = value.view(-1, c.head_dim // 2, 2, c.d_model)
            value = heads.transpose(1, 2).reshape(value.shape)
        state[".".join(names.get(part, part) for part in name.split("."))] = value
    llama.load_state_dict(state)
    ids = ids_like(model, 2, 64)
    with torch.no_grad():
        ours, theirs = model(ids), llama(input_ids=ids).logits
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        their_loss = llama(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(loss, their_loss, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("at", [1, 17, 47])
def test_the_past_does_not_see_the_future(name, at):
    model = small_model(name)
    ids = ids_like(model, 2, 48)
    changed = ids.clone()
    changed[:, at] = (ids[:, at] + 1) % model.config.vocab_size
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :at], after[:, :at])
    assert not torch.equal(before[:, at:], after[:, at:])


@pytest.mark.parametrize("name", PRESETS)
def test_state_dict_has_the_names_of_cs336(name):
    model = Transformer(small_config(name, n_layer=1))
    layer = {f"layers.0.attn.{p}_proj.weight" for p in ("q", "k", "v", "output")}
    layer |= {"layers.0.ffn.w1.weight", "layers.0.ffn.w2.weight"}
    if name == "cs336":
        layer |= {"layers.0.ln1.weight", "layers.0.ln2.weight", "ln_final.weight"}
        layer |= {"layers.0.ffn.w3.weight"}
    assert set(model.state_dict()) == layer | {"token_embeddings.weight", "lm_head.weight"}
    assert model.n_params() == sum(value.numel() for value in model.state_dict().values())


def test_initial_weights():
    config = small_config("gpt", d_model=128, vocab_size=500)
    model = Transformer(config, generator=torch.Generator().manual_seed(3))
    state = model.state_dict()
    assert not state["layers.1.attn.output_proj.weight"].any()
    assert not state["layers.0.ffn.w2.weight"].any()
    for name, std in [("token_embeddings", 1.0), ("lm_head", 0.001), ("layers.0.ffn.w1", 0.0559)]:
        weight = state[f"{name}.weight"]
        assert weight.std().item() == pytest.approx(std, rel=0.03)
        assert weight.abs().max() <= 3.001 * (2 / (128 + 512)) ** 0.5 or name != "layers.0.ffn.w1"
    again = Transformer(config, generator=torch.Generator().manual_seed(3)).state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    plain = Transformer(small_config("cs336")).state_dict()
    assert plain["layers.0.attn.output_proj.weight"].std().item() == pytest.approx(0.125, rel=0.05)
    assert torch.equal(plain["ln_final.weight"], torch.ones(64))


@pytest.mark.parametrize("name", PRESETS)
def test_bf16_keeps_tables_and_logits_in_fp32(name):
    model = small_model(name)
    ids = ids_like(model, 2, 48)
    with torch.no_grad():
        exact = model(ids)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed, hidden = model(ids), model.hidden(ids)
        whole = model.to(torch.bfloat16)(ids)
    assert hidden.dtype == torch.bfloat16
    assert model.rope.table.dtype == torch.float32
    for rough in (mixed, whole):
        assert rough.dtype == torch.float32
        assert 0 < (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_meta_device_then_values():
    model = small_model()
    empty = Transformer(model.config, device="meta")
    empty.to_empty(device="cpu")
    empty.load_state_dict(model.state_dict())
    ids = ids_like(model, 2, 30)
    assert torch.equal(model(ids), empty(ids))


@pytest.mark.parametrize("name", PRESETS)
def test_overfits_one_batch(name):
    torch.manual_seed(0)
    model = Transformer(small_config(name, context_length=64))
    ids = ids_like(model, 8, 65)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, betas=(0.9, 0.95))
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * (1 - step / 220)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.01


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.zeros(1, 49, dtype=torch.int64), ValueError, "49 tokens .* context length, 48"),
        (torch.zeros(8, dtype=torch.int64), ValueError, r"\(8,\): expected \(B, T\)"),
        (torch.zeros(0, 8, dtype=torch.int64), ValueError, r"\(0, 8\)"),
        (torch.zeros(1, 8), TypeError, "float32"),
        (torch.tensor([[3, 97]]), ValueError, "id 97 .* 0 to 96"),
        (torch.tensor([[-1, 5]]), ValueError, "id -1"),
    ],
)
def test_bad_ids(ids, error, message):
    with pytest.raises(error, match=message):
        small_model()(ids)


def test_bad_targets_and_lengths():
    model = small_model()
    ids = ids_like(model, 2, 8)
    with pytest.raises(ValueError, match=r"targets \(2, 7\)"):
        model.loss(ids, ids[:, 1:])
    with pytest.raises(ValueError, match=r"targets \(16, 1\).*\(16,\)"):
        model.loss_of(model.hidden(ids).flatten(0, 1), ids.view(16, 1))
    with pytest.raises(ValueError, match="without a cache"):
        model(ids, lengths=[8, 8])


@pytest.mark.parametrize("own_head", [True, False])
@pytest.mark.parametrize("bad", [97, 1000, -2, -100])
def test_loss_refuses_targets_that_are_not_ids(own_head, bad):
    model = small_model()
    if not own_head:
        model.lm_head = torch.nn.Linear(64, 97)
    ids = ids_like(model, 2, 8)
    targets = ids.clone()
    targets[1, 3] = bad
    with pytest.raises(ValueError, match=rf"target {bad} is not in the vocabulary.*0 to 96; .*-1"):
        model.loss(ids, targets)
    with pytest.raises(TypeError, match=r"targets of torch\.float32"):
        model.loss(ids, targets.float())


def test_chunks_and_loss_agree_with_logits():
    model = small_model("gpt")
    ids = ids_like(model, 2, 20)
    targets = ids.roll(-1, 1)
    targets[:, -3:] = -1
    logits = model(ids).flatten(0, 1)
    for reduction in ("mean", "sum"):
        expected = torch.nn.functional.cross_entropy(
            logits, targets.flatten(), ignore_index=-1, reduction=reduction
        )
        for chunk in (None, 1, 13):
            got = model.loss(ids, targets, reduction=reduction, chunk=chunk)
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def heads():
    """Heads that are not a plain product with the model's own weight."""
    biased = torch.nn.Linear(64, 97)
    twice = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 97))
    hooked = Linear(64, 97)
    hooked.register_forward_hook(lambda module, args, out: out * 0.5)
    own = Linear(64, 97)
    own.forward = lambda x: x @ own.weight.T + 1
    normed = torch.nn.utils.parametrizations.weight_norm(Linear(64, 97))
    return {"biased": biased, "twice": twice, "hooked": hooked, "own": own, "normed": normed}


@pytest.mark.parametrize("kind", ["biased", "twice", "hooked", "own", "normed"])
@pytest.mark.parametrize("name", PRESETS)
def test_loss_honours_the_head_that_is_there(name, kind):
    torch.manual_seed(1)
    model = small_model(name)
    model.lm_head = heads()[kind]
    ids = ids_like(model, 2, 20)
    targets = ids.roll(-1, 1)
    targets[:, -3:] = -1
    for reduction in ("mean", "sum"):
        model.zero_grad()
        expected = torch.nn.functional.cross_entropy(
            model(ids).flatten(0, 1), targets.flatten(), ignore_index=-1, reduction=reduction
        )
        expected.backward()
        grads = {name: value.grad.clone() for name, value in model.named_parameters()}
        for chunk in (None, 1, 13):
            model.zero_grad()
            got = model.loss(ids, targets, reduction=reduction, chunk=chunk)
            got.backward()
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
            for name, value in model.named_parameters():
                largest = float(grads[name].abs().max())
                torch.testing.assert_close(value.grad, grads[name], rtol=0, atol=1e-5 * largest)
    with torch.no_grad():
        torch.testing.assert_close(model.loss(ids, targets, reduction="sum"), expected)
    assert model.loss(ids, torch.full_like(ids, -1)).item() == 0
    with pytest.raises(ValueError, match="chunk_size=0"):
        model.loss(ids, targets, chunk=0)


def test_logits_of_an_odd_head_are_not_held_at_once():
    model = small_model(vocab_size=500)
    model.lm_head = torch.nn.Linear(64, 500)
    seen = []
    model.lm_head.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    ids = ids_like(model, 4, 40)
    held = []

    def pack(tensor):
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.loss(ids, ids, chunk=16)
    assert seen == [16] * 10
    # Nothing of the size of a chunk's logits (beside the head's inputs, in smaller chunks of 64).
    assert not [size for size in held if size == 16 * 500]
    loss.backward()
    assert seen == [16] * 20
