"""GGUF files, read back by their own package: sizes, tokens, weights; and what is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

from bytemill.chat import SPECIAL_TOKENS
from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.interchange import gguf_file
from bytemill.lm.interchange.entries import to_halves
from bytemill.lm.interchange.gguf_file import export_gguf
from tests.support.chats import chat_tokenizer
from tests.support.models import GPT2, small_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.vocabularies import generated_text, train


def contents(reader, name):
    return reader.fields[name].contents()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_in_the_file(dtype, tmp_path):
    tokenizer = chat_tokenizer()
    fields = {"rope_theta": 500.0, "norm_eps": 0.01, "vocab_multiple": 50}
    model = small_model(vocab_size=tokenizer.n_vocab + 3, **fields).eval()
    path = tmp_path / "model.gguf"
    told = export_gguf(model, tokenizer, path, dtype=dtype, name="small")
    assert told.startswith("read back, 21 tensors")
    reader = gguf.GGUFReader(path)
    expected = {
        "general.architecture": "llama", "general.name": "small", "llama.block_count": 2,
        "llama.context_length": 48, "llama.embedding_length": 64, "llama.feed_forward_length": 192,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16, "llama.rope.freq_base": 500.0,
        "llama.vocab_size": tokenizer.n_vocab + 3, "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.bos_token_id": tokenizer.special_tokens["<|bos|>"],
        "tokenizer.ggml.eos_token_id": tokenizer.special_tokens["<|assistant_end|>"],
    }  # fmt: skip
    assert {name: contents(reader, name) for name in expected} == expected
    eps = contents(reader, "llama.attention.layer_norm_rms_epsilon")
    assert eps == pytest.approx(0.01)
    tensors = {each.name: each for each in reader.tensors}
    narrow = getattr(torch, dtype)
    for theirs, ours in {
        "token_embd.weight": model.token_embeddings.weight[: tokenizer.n_vocab + 3],
        "blk.1.attn_q.weight": model.layers[1].attn.q_proj.weight,
        "blk.0.ffn_gate.weight": model.layers[0].ffn.w1.weight,
        "blk.0.ffn_down.weight": model.layers[0].ffn.w2.weight,
        "output_norm.weight": model.ln_final.weight,
    }.items():
        each = tensors[theirs]
        kept = ours if ours.ndim == 1 else ours.to(narrow).float()
        found = gguf.quants.dequantize(each.data, each.tensor_type).reshape(ours.shape)
        np.testing.assert_array_equal(found, kept.detach().numpy())


def test_tokens_and_merges_are_the_tokenizers(tmp_path):
    tokenizer = chat_tokenizer()
    model = small_model(vocab_size=tokenizer.n_vocab + 2, tie_embeddings=True).eval()
    export_gguf(model, tokenizer, tmp_path / "model.gguf", dtype="float32")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    assert "output.weight" not in {each.name for each in reader.tensors}
    tokens, kinds = (contents(reader, f"tokenizer.ggml.{n}") for n in ("tokens", "token_type"))
    merges = [tuple(m.split(" ")) for m in contents(reader, "tokenizer.ggml.merges")]
    for text, id_ in tokenizer.special_tokens.items():
        assert (tokens[id_], kinds[id_]) == (text, int(gguf.TokenType.CONTROL))
    assert set(tokenizer.special_tokens) == set(SPECIAL_TOKENS)
    assert kinds[-2:] == [int(gguf.TokenType.UNUSED)] * 2
    # BPE by the file alone, as llama.cpp does it, against the tokenizer.
    from tokenizers import Tokenizer as Library
    from tokenizers import models, pre_tokenizers

    vocab = {token: id_ for id_, token in enumerate(tokens)}
    library = Library(models.BPE(vocab, merges))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    text = generated_text(seed=4, words=300)
    assert library.encode(text).ids == tokenizer.encode(text)
    template = contents(reader, "tokenizer.chat_template")
    assert "<|assistant_start|>" in template and "generation -%}" not in template


def test_another_reader_computes_the_same(tmp_path):
    """transformers', which asks for accelerate: `pip install accelerate` to run it."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    tokenizer = chat_tokenizer()
    model = small_model(vocab_size=tokenizer.n_vocab + 3, rope_theta=500.0).eval()
    export_gguf(model, tokenizer, tmp_path / "model.gguf", dtype="float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    ).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(tokenizer.n_vocab, (2, 20), generator=generator)
    with torch.inference_mode():
        assert (theirs(ids).logits - model(ids)).abs().max() < 1e-4
        options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        text = theirs.generate(ids[:1], max_new_tokens=24, **options)[0, 20:].tolist()
    prompt = ids[0].tolist()
    assert [text] == generate(DecodingWeights(model), [prompt], max_new_tokens=24, temperature=0)


def test_what_is_not_the_same_is_not_written(tmp_path, monkeypatch):
    model = small_model().eval()
    named = gguf_file._named

    def wrong(weights, config):
        for name, tensor in named(weights, config):
            yield name, to_halves(tensor, 4) if name == "blk.1.attn_q.weight" else tensor

    monkeypatch.setattr(gguf_file, "_named", wrong)
    with pytest.raises(ValueError, match="differ by"):
        export_gguf(model, None, tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    for preset, fields, words in (
        ("gpt", {}, "mlp is relu2 and not swiglu"),
        ("cs336", GPT2, "norm is layer and not rms"),
        ("cs336", {"window": 7, "window_pattern": "S"}, "window is 7"),
    ):
        with pytest.raises(ValueError, match=words):
            export_gguf(small_model(preset, **fields), None, path)
    model = small_model(vocab_size=600).eval()
    for pattern, words in (("nanochat", "by the pattern nanochat"), (r"\w+|\W", "of your own")):
        tokenizer = train([generated_text()], 400, [], pattern)
        with pytest.raises(ValueError, match=words):
            export_gguf(model, tokenizer, path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        export_gguf(model, None, path)
    assert path.read_text() == "mine"
    export_gguf(model, None, tmp_path / "other.gguf")
    assert contents(gguf.GGUFReader(tmp_path / "other.gguf"), "tokenizer.ggml.model") == "none"
