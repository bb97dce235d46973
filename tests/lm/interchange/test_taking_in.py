"""Models of transformers as runs: the same logits and texts, and what is wrong is named."""

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from bytemill.lm.checkpoint.loading import find_checkpoint, load_model
from bytemill.lm.generate.text import generate
from bytemill.lm.interchange import huggingface
from bytemill.lm.interchange.taking_in import take_in
from tests.support.chats import chat_tokenizer
from tests.support.models import GPT2, ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.vocabularies import CACHE, tiktoken_encoding

SIZES = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 90,
    "pad_token_id": 0,
}  # fmt: skip

GPT2_SIZES = {"vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 90}


def theirs(kind, folder, **fields):
    """A model of transformers with random weights that all matter, saved in a folder."""
    sizes = GPT2_SIZES if kind == "gpt2" else SIZES
    config = transformers.AutoConfig.for_model(kind, **{**sizes, **fields})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            is_factor = weight.ndim == 1 and not name.endswith(".bias")
            weight.copy_(1 + 0.3 * noise if is_factor else 0.15 * noise)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "rms_norm_eps": 0.1, "num_key_value_heads": 4}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
        ("nanochat", {}),
        ("nanochat", {"final_logit_softcapping": 4.0, "rms_norm_eps": 0.1}),
        ("gpt2", {}),
        ("gpt2", {"tie_word_embeddings": False, "n_inner": 64, "layer_norm_epsilon": 0.1}),
    ],
    ids=str,
)
def test_logits_and_greedy_text(kind, fields, tmp_path):
    model = theirs(kind, tmp_path / "hf", **fields)
    done = take_in(tmp_path / "hf", tmp_path / "run")
    assert done.tokenizer is None
    ours = load_model(tmp_path / "run").model
    assert ours.n_params() == done.n_params == sum(p.numel() for p in model.parameters())
    ids = ids_like(ours, 2, 90)
    with torch.no_grad():
        expected = model(ids).logits
        assert float(expected.abs().max()) > 0.5
        assert float((ours(ids) - expected).abs().max()) < 1e-4
    row = model.generate(ids[:1, :7], max_new_tokens=64, do_sample=False, eos_token_id=None)[0, 7:]
    assert generate(ours, [ids[0, :7].tolist()], max_new_tokens=64, temperature=0.0) == [
        row.tolist()
    ]


@pytest.mark.parametrize(("preset", "fields"), [("cs336", {}), ("gpt", {}), ("cs336", GPT2)])
def test_there_and_back(preset, fields, tmp_path):
    tokenizer = chat_tokenizer()
    model = small_model(preset, vocab_size=tokenizer.n_vocab, **fields).eval()
    huggingface.export(model, tokenizer, tmp_path / "hf")
    done = take_in(tmp_path / "hf", tmp_path / "run")
    assert done.tokenizer == tokenizer
    loaded = load_model(tmp_path / "run")
    assert loaded.tokenizer == tokenizer and loaded.step == 0
    assert loaded.config == model.config
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name


@pytest.mark.parametrize("fields", [{"preset": "gpt"}, {"preset": "cs336", **GPT2}], ids=str)
def test_training_goes_on_from_it(fields, tmp_path):
    from bytemill.lm.checkpoint.store import CheckpointStore
    from bytemill.lm.train import Trainer
    from tests.support.lm_runs import config, make_ids, tiny_model

    make_ids(tmp_path)
    fields = {**fields, "n_layer": 2, "n_kv_head": 2}
    model = tiny_model(**fields).eval()
    CheckpointStore(tmp_path / "own").save(5, model, [], model_config=model.config.to_dict())
    huggingface.export(model, None, tmp_path / "hf")
    take_in(tmp_path / "hf", tmp_path / "imported")
    trained = []
    for start in ("own", "imported"):
        fields |= {"vocab_size": 64, "steps": 1, "d_ff": model.config.d_ff}
        fields |= {"init_from": str(tmp_path / start), "out": str(tmp_path / f"from-{start}")}
        Trainer(config(tmp_path, **fields)).run()
        trained.append(load_model(tmp_path / f"from-{start}").model.state_dict())
    for name, weight in model.state_dict().items():
        assert torch.equal(trained[0][name], trained[1][name]), name
        assert not torch.equal(trained[0][name], weight), name


@pytest.mark.parametrize(("preset", "fields"), [("gpt", {}), ("cs336", GPT2)])
def test_a_shorter_context(preset, fields, tmp_path):
    model = small_model(preset, **fields).eval()
    huggingface.export(model, None, tmp_path / "hf")
    take_in(tmp_path / "hf", tmp_path / "run", context_length=20)
    loaded = load_model(tmp_path / "run")
    assert loaded.config.context_length == 20
    ids = ids_like(model, 1, 20)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids), model(ids))
    with pytest.raises(ValueError, match=r"context_length=49: it must be from 1 up to .* 48"):
        take_in(tmp_path / "hf", tmp_path / "other", context_length=49)


def test_files_in_parts(tmp_path):
    model = theirs("llama", tmp_path / "hf")
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    (tmp_path / "hf" / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for i, part in enumerate((names[:5], names[5:])):
        save_file({name: tensors[name] for name in part}, tmp_path / "hf" / f"part-{i}.safetensors")
        places |= dict.fromkeys(part, f"part-{i}.safetensors")
    index = tmp_path / "hf" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    take_in(tmp_path / "hf", tmp_path / "run")
    ids = ids_like(load_model(tmp_path / "run").model, 1, 9)
    with torch.no_grad():
        difference = load_model(tmp_path / "run").model(ids) - model(ids).logits
    assert float(difference.abs().max()) < 1e-4
    index.write_text(json.dumps({"weight_map": {**places, "more.weight": "part-0.safetensors"}}))
    with pytest.raises(ValueError, match=r"more\.weight of"):
        take_in(tmp_path / "hf", tmp_path / "other")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(places, "../hf/part-0.safetensors")}))
    with pytest.raises(ValueError, match="not a file of its folder"):
        take_in(tmp_path / "hf", tmp_path / "other")


def changed_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def poison(tensors):
    tensors["model.norm.weight"][3] = float("nan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
            "model.layers.1.mlp.up_proj.weight missing",
        ),
        (
            lambda t: t.update({"model.layers.1.self_attn.q_proj.bias": torch.ones(48)}),
            "model.layers.1.self_attn.q_proj.bias without a place",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(47)}),
            r"model.norm.weight has shape \(47,\), and by config.json it must be \(48,\)",
        ),
        (poison, "model.norm.weight holds NaN or infinity"),
    ],
)
def test_wrong_tensors_are_named(change, words, tmp_path):
    theirs("llama", tmp_path / "hf")
    changed_tensors(tmp_path / "hf", change)
    with pytest.raises(ValueError, match=words):
        take_in(tmp_path / "hf", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("llama", {"attention_bias": True}, "attention_bias is True, and must be False"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("llama", {"head_dim": 16}, "head_dim is 16, and must be 12"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "rope_type is 'linear'",
        ),
        ("nanochat", {"hidden_act": "silu"}, "hidden_act is 'silu'"),
        ("gpt2", {"activation_function": "gelu"}, "activation_function is 'gelu', and must be"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is"),
    ],
)
def test_what_has_no_counterpart_is_named(kind, fields, words, tmp_path):
    theirs(kind, tmp_path / "hf", **fields)
    with pytest.raises(ValueError, match=words):
        take_in(tmp_path / "hf", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_are_not_a_model(tmp_path):
    folder = tmp_path / "hf"
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        take_in(folder, tmp_path / "run")
    folder.mkdir()
    config = folder / "config.json"
    config.write_text('{"model_type": "mamba"}')
    with pytest.raises(
        ValueError, match=r"model_type is 'mamba'; bytemill takes in .* llama, nano"
    ):
        take_in(folder, tmp_path / "run")
    config.write_text('{"model_type": "llama", "hidden_size": "wide"}')
    with pytest.raises(ValueError, match="hidden_size is 'wide'"):
        take_in(folder, tmp_path / "run")
    theirs("llama", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        take_in(folder, tmp_path / "run")
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin is a pickle"):
        take_in(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tied_head_of_its_own_is_refused(tmp_path):
    theirs("llama", tmp_path / "hf", tie_word_embeddings=True)
    table = load_file(tmp_path / "hf" / "model.safetensors")["model.embed_tokens.weight"]
    changed_tensors(tmp_path / "hf", lambda t: t.update({"lm_head.weight": table.clone()}))
    take_in(tmp_path / "hf", tmp_path / "run")
    changed_tensors(tmp_path / "hf", lambda t: t.update({"lm_head.weight": 2 * table}))
    with pytest.raises(ValueError, match=r"lm_head\.weight is not the embedding"):
        take_in(tmp_path / "hf", tmp_path / "other")


def test_a_tokenizer_of_more_ids_and_a_run_that_is_there(tmp_path):
    huggingface.export(small_model("gpt").eval(), None, tmp_path / "hf")
    with pytest.raises(ValueError, match="a vocabulary of 97"):
        take_in(tmp_path / "hf", tmp_path / "run", tokenizer=chat_tokenizer())
    take_in(tmp_path / "hf", tmp_path / "run")
    before = find_checkpoint(tmp_path / "run").files
    with pytest.raises(FileExistsError):
        take_in(tmp_path / "hf", tmp_path / "run")
    assert find_checkpoint(tmp_path / "run").files == before


def test_gpt2s_own_names_and_masks(tmp_path):
    model = theirs("gpt2", tmp_path / "hf")

    def as_openai(tensors):
        names = list(tensors)
        for name in names:
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        for i in range(2):
            tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 90, 90).tril()
            tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)

    changed_tensors(tmp_path / "hf", as_openai)
    take_in(tmp_path / "hf", tmp_path / "run")
    ids = ids_like(load_model(tmp_path / "run").model, 1, 30)
    with torch.no_grad():
        difference = load_model(tmp_path / "run").model(ids) - model(ids).logits
    assert float(difference.abs().max()) < 1e-4


def test_gpt2s_vocabulary(tmp_path, monkeypatch):
    expected = tiktoken_encoding("gpt2")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
    small = {"vocab_size": 50_257, "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16}
    theirs("gpt2", tmp_path / "hf", **small)
    done = take_in(tmp_path / "hf", tmp_path / "run")
    assert done.tokenizer == expected
    assert load_model(tmp_path / "run").tokenizer.encode("hello world") == [31373, 995]
