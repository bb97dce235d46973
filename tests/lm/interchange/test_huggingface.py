"""Exports to transformers: the same logits, texts, tokens and chat template, or nothing at all."""

import json
import random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from bytemill.chat import Renderer
from bytemill.lm.checkpoint.state import read_file
from bytemill.lm.generate.text import generate
from bytemill.lm.interchange import comparison, forward, huggingface
from bytemill.lm.interchange.entries import to_halves, to_pairs
from bytemill.lm.interchange.homes import home_of
from tests.support.chats import chat_tokenizer, conversation
from tests.support.models import GPT2, ids_like, small_config, small_model
from tests.support.one_thread import one_thread  # noqa: F401

SHAPES = [
    ("cs336", {}),
    ("cs336", {"tie_embeddings": True, "n_kv_head": 1, "rope_theta": 500.0, "norm_eps": 0.1}),
    ("cs336", {"vocab_multiple": 50, "n_layer": 3, "window_pattern": "L"}),
    ("gpt", {}),
    ("gpt", {"logit_softcap": None, "n_kv_head": 4, "norm_eps": 1.2e-7}),
    ("cs336", GPT2),
    ("cs336", {**GPT2, "tie_embeddings": False, "vocab_multiple": 50, "d_ff": 96}),
    ("gpt", {"tie_embeddings": True, "vocab_multiple": 50, "rope_theta": 500.0, "norm_eps": 0.1}),
]


def near(got, expected):
    assert float(expected.abs().max()) > 0.5
    assert float((got - expected).abs().max()) < 1e-4


@pytest.mark.parametrize(("preset", "fields"), SHAPES, ids=str)
def test_logits_and_greedy_text_are_transformers(preset, fields, tmp_path):
    model = small_model(preset, context_length=80, **fields).eval()
    done = huggingface.export(model, None, tmp_path / "hf")
    assert "transformers" in done.checked
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert type(theirs).__name__ == done.architecture
    ids = ids_like(model, 3, 80)
    with torch.no_grad():
        near(theirs.eval()(ids).logits, model(ids))
    prompt = ids[:1, :7]
    row = theirs.generate(prompt, max_new_tokens=64, do_sample=False, pad_token_id=0)[0, 7:]
    ours = generate(model, [prompt[0].tolist()], max_new_tokens=64, temperature=0.0)
    assert ours[0] == row.tolist() and len(set(ours[0])) > 3


@pytest.mark.parametrize(("preset", "fields"), SHAPES, ids=str)
def test_the_formulas_are_another_witness(preset, fields, tmp_path, monkeypatch):
    model = small_model(preset, **fields).eval()
    monkeypatch.setattr(comparison, "transformers_or_none", lambda name: None)
    done = huggingface.export(model, None, tmp_path / "hf")
    assert "formulas" in done.checked
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    ids = ids_like(model, 1, 30)
    got = forward.logits(config, read_file(tmp_path / "hf" / "model.safetensors"), ids[0])
    with torch.no_grad():
        near(got.float(), model(ids)[0])


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("preset", ["cs336", "gpt"])
def test_what_differs_is_not_written(preset, library, tmp_path, monkeypatch):
    model = small_model(preset).eval()
    home = home_of(model.config)
    swapped = preset == "cs336"  # the other way round

    def wrong(config):
        for each in type(home).entries(home, config):
            if each.theirs.endswith("0.self_attn.k_proj.weight"):
                kind = type(each)
                turn = lambda own: to_halves(own[0], config.n_kv_head, swapped=swapped)  # noqa: E731
                each = kind(each.theirs, each.ours, turn, each.back)
            yield each

    monkeypatch.setattr(home, "entries", wrong)
    if not library:
        monkeypatch.setattr(comparison, "transformers_or_none", lambda name: None)
    with pytest.raises(ValueError, match="differ by"):
        huggingface.export(model, None, tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []


def test_rows_come_back_as_they_were():
    weight = torch.randn(4 * 6, 5)
    for swapped in (False, True):
        halves = to_halves(weight, 4, swapped=swapped)
        assert torch.equal(to_pairs(halves, 4, swapped=swapped), weight)
    # Of the second head, rows 6 to 11: the even ones, then the odd ones.
    rows = torch.arange(12)[:, None]
    assert to_halves(rows, 2).flatten().tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]
    assert to_halves(rows, 2, swapped=True).flatten().tolist()[:6] == [1, 3, 5, 0, 2, 4]


def test_conversations_are_the_renderers(tmp_path):
    tokenizer = chat_tokenizer()
    model = small_model("gpt", vocab_size=tokenizer.n_vocab).eval()
    done = huggingface.export(model, tokenizer, tmp_path / "hf", facts={"Trained for": "3 steps"})
    assert done.chat
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    drawn, n = random.Random(5), 0
    while n < 20:
        each = conversation(drawn)
        texts = [str(message.content) for message in each.messages]
        if any("<|" in text for text in texts):
            continue  # what transformers reads as special tokens
        n += 1
        messages = each.to_dict()["messages"]
        ids = theirs.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert ids == Renderer(tokenizer).render(each).ids
    special = tokenizer.special_tokens
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "hf")
    assert generation.eos_token_id == [special["<|assistant_end|>"], special["<|bos|>"]]
    assert theirs.model_max_length == model.config.context_length
    text = (tmp_path / "hf" / "README.md").read_text()
    assert "NanoChatForCausalLM" in text and "| Trained for | 3 steps |" in text


def test_a_tokenizer_of_documents(tmp_path):
    from tests.support.vocabularies import generated_text, train

    tokenizer = train([generated_text()], 400, ["<|endoftext|>"])
    model = small_model(vocab_size=500).eval()
    assert not huggingface.export(model, tokenizer, tmp_path / "hf").chat
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = "low new lowest 你好 <|endoftext|> x"
    assert theirs(text)["input_ids"] == tokenizer.encode(text, allowed_special="all")
    assert theirs.eos_token == "<|endoftext|>"
    with pytest.raises(ValueError, match=r"ids up to .*vocabulary of 97"):
        huggingface.export(small_model().eval(), tokenizer, tmp_path / "other")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_weights(dtype, tmp_path):
    model = small_model("gpt").eval()
    huggingface.export(model, None, tmp_path / "hf", dtype=dtype)
    tensors = read_file(tmp_path / "hf" / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {getattr(torch, dtype)}
    wide = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    ids = ids_like(model, 1, 9)
    with torch.no_grad():
        near(wide.eval()(ids).logits, huggingface.rounded_copy(model, getattr(torch, dtype))(ids))


@pytest.mark.parametrize(
    ("preset", "fields", "names"),
    [
        ("nanochat-2026", {}, ["value_embeddings is True", "smear is True", "backout is True"]),
        ("gpt", {"mlp": "swiglu"}, ["NanoChatForCausalLM", "mlp is swiglu and not relu2"]),
        ("cs336", {"window": 7, "window_pattern": "SL"}, ["window is 7 and not none"]),
        ("cs336", {"norm_position": "post"}, ["norm_position is post and not pre"]),
        ("cs336", {"logit_softcap": 4.0}, ["LlamaForCausalLM", "logit_softcap is 4.0"]),
        ("cs336", {"qk_scale": 1.2}, ["qk_scale is 1.2"]),
        (
            "cs336",
            {**GPT2, "n_kv_head": 2},
            ["GPT2LMHeadModel", "n_kv_head is 2 and not n_head, 4"],
        ),
        ("cs336", {"bias": True}, ["LlamaForCausalLM", "bias is True and not False"]),
    ],
    ids=str,
)
def test_what_has_no_home_is_named(preset, fields, names, tmp_path):
    model = small_model(preset, **fields)
    with pytest.raises(ValueError) as found:
        huggingface.export(model, None, tmp_path / "hf")
    for name in names:
        assert name in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path):
    model = small_model().eval()
    for make in (lambda path: path.mkdir(), lambda path: path.write_text("mine")):
        path = tmp_path / "hf"
        make(path)
        with pytest.raises(FileExistsError, match="it is there already"):
            huggingface.export(model, None, path)
        assert list(tmp_path.iterdir()) == [path]
        path.rmdir() if path.is_dir() else path.unlink()


def test_every_field_of_a_model_is_decided_or_free():
    free = {
        "vocab_size", "context_length", "d_model", "n_layer", "n_head", "n_kv_head", "d_ff",
        "rope_theta", "norm_eps", "tie_embeddings", "dropout", "window_pattern", "vocab_multiple",
        "init", "zero_init_output",
    }  # fmt: skip
    cases = (("cs336", {}, set()), ("gpt", {}, {"logit_softcap"}), ("cs336", GPT2, set()))
    for preset, fields, also in cases:
        config = small_config(preset, **fields)
        assert free | also | set(home_of(config).fixed()) == set(config.to_dict())
