"""A model shaped like Llama as a GGUF file, for llama.cpp and what is built on it.

llama.cpp turns dimensions 2i and 2i+1 of a head together, as we do, so rows stay in their order.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bytemill import Tokenizer, files
from bytemill.chat import TEMPLATE
from bytemill.lm.interchange import forward
from bytemill.lm.interchange.comparison import TOLERANCE, sample_ids
from bytemill.lm.interchange.entries import to_halves
from bytemill.lm.interchange.gguf_tokenizer import Words, words_of
from bytemill.lm.interchange.huggingface import (
    DTYPES,
    Dtype,
    check_ids,
    end_ids,
    has_conversations,
    new_place,
    rounded_copy,
)
from bytemill.lm.interchange.llama import Llama
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.transformer import Transformer

_FILE_TYPES: Final[dict[Dtype, str]] = {
    "float32": "ALL_F32",
    "float16": "MOSTLY_F16",
    "bfloat16": "MOSTLY_BF16",
}
# Tags of transformers alone.
_TAGS: Final = ("{%- generation -%}", "{%- endgeneration -%}")
_OUTER: Final = {
    "token_embeddings": "token_embd",
    "ln_final": "output_norm",
    "lm_head": "output",
}
_OF_LAYER: Final = {
    "ln1": "attn_norm",
    "attn.q_proj": "attn_q",
    "attn.k_proj": "attn_k",
    "attn.v_proj": "attn_v",
    "attn.output_proj": "attn_output",
    "ln2": "ffn_norm",
    "ffn.w1": "ffn_gate",
    "ffn.w3": "ffn_up",
    "ffn.w2": "ffn_down",
}


def export_gguf(
    model: Transformer,
    tokenizer: Tokenizer | None,
    out: str | os.PathLike[str],
    *,
    dtype: Dtype = "float16",
    name: str = "bytemill",
) -> str:
    """Writes a GGUF file, reads it back and compares before it takes its place.

    Args:
        model: Shaped like Llama (the preset `cs336`). Adapters are merged.
        tokenizer: The model's; None writes none.
        out: A file that is not there yet.
        dtype: Of the matrices in the file; norms are float32.
        name: A name for people.

    Returns:
        How it was compared, in words.

    Raises:
        FileExistsError: There is something at `out`.
        ImportError: The package gguf is not installed.
        OSError: It cannot be written.
        ValueError: The model is not shaped like Llama, or llama.cpp does not split text as the
            tokenizer does (the message names what differs); what was read back is not what was
            written. Then nothing is written.
    """
    target = files.named("out", out)
    config = model.config
    if misfits := Llama.misfits(config):
        raise ValueError(f"llama.cpp is given models shaped like Llama, but {', '.join(misfits)}")
    check_ids(tokenizer, config.vocab_size)
    words = None if tokenizer is None else words_of(tokenizer, config.vocab_size)
    gguf = importlib.import_module("gguf")
    rounded = rounded_copy(model, DTYPES[dtype], vectors=False)
    tensors = dict(_named(rounded.state_dict(), config))
    with new_place(target) as beside:
        writer = gguf.GGUFWriter(beside, "llama")
        try:
            writer.add_name(name)
            writer.add_file_type(int(gguf.LlamaFileType[_FILE_TYPES[dtype]]))
            _add_sizes(writer, config)
            _add_tokenizer(gguf, writer, tokenizer, words)
            for key, tensor in tensors.items():
                _add_tensor(gguf, writer, key, tensor, dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        return _compared(gguf, rounded, beside, words)


def _named(weights: dict[str, Tensor], config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    for ours, theirs in _OUTER.items():
        if ours == "lm_head" and config.tie_embeddings:
            continue  # llama.cpp takes the embedding then
        tensor = weights[f"{ours}.weight"]
        yield f"{theirs}.weight", tensor[: config.vocab_size] if tensor.ndim == 2 else tensor
    for i in range(config.n_layer):
        for ours, theirs in _OF_LAYER.items():
            yield f"blk.{i}.{theirs}.weight", weights[f"layers.{i}.{ours}.weight"]


def _add_sizes(writer: Any, config: ModelConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_kv_head)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)


def _add_tokenizer(
    gguf: Any, writer: Any, tokenizer: Tokenizer | None, words: Words | None
) -> None:
    if tokenizer is None or words is None:
        writer.add_tokenizer_model("none")
        return
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types([int(gguf.TokenType[kind]) for kind in words.kinds])
    writer.add_token_merges(words.merges)
    ends = end_ids(tokenizer)
    if ends.bos is not None:
        writer.add_bos_token_id(ends.bos)
    if ends.eos:
        writer.add_eos_token_id(ends.eos[0])
    writer.add_add_bos_token(False)  # the chat template has it
    if has_conversations(tokenizer):
        template = TEMPLATE
        for tag in _TAGS:
            template = template.replace(tag, "")
        writer.add_chat_template(template)


def _add_tensor(gguf: Any, writer: Any, key: str, tensor: Tensor, dtype: Dtype) -> None:
    values: npt.NDArray[Any] = tensor.detach().float().contiguous().numpy()
    if tensor.ndim == 1 or dtype == "float32":
        writer.add_tensor(key, values)
    elif dtype == "float16":
        writer.add_tensor(key, values.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(key, gguf.quants.quantize(values, kind), raw_dtype=kind)


def _compared(gguf: Any, model: Transformer, path: Path, words: Words | None) -> str:
    """Reads the file back, computes logits of what it holds, and compares."""
    reader = gguf.GGUFReader(path)
    if words is not None:
        for key, expected in (("tokens", words.tokens), ("merges", words.merges)):
            field = reader.fields[f"tokenizer.ggml.{key}"]
            found = [bytes(field.parts[i]).decode() for i in field.data]
            if found != expected:
                raise ValueError(f"the {key} that were read back are not those that were written")
    config, tensors = _read_back(gguf, reader)
    ids = sample_ids(model.config.vocab_size, min(64, model.config.context_length))
    with torch.inference_mode():
        ours = model(ids)
        theirs = torch.stack([forward.logits(config, tensors, row) for row in ids])
    del reader  # its memory map, which Windows does not rename under
    difference = float((ours.double() - theirs).abs().max())
    largest = float(ours.abs().max())
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ValueError(
            f"the logits of what was read back differ by {difference:.3g} from the model's, of "
            f"which the largest is {largest:.3g}: nothing was written; please report it"
        )
    return (
        f"read back, {len(tensors)} tensors; logits of {ids.numel()} tokens by the formulas: "
        f"largest difference {difference:.1e}, largest logit {largest:.3g}"
    )


def _read_back(gguf: Any, reader: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a GGUF file holds, as `forward.logits` takes it: by transformers' names and order."""

    def field(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    n_head, n_kv_head = field("attention.head_count"), field("attention.head_count_kv")
    config = {
        "model_type": "llama",
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": n_head,
        "num_key_value_heads": n_kv_head,
        "rms_norm_eps": field("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_theta": field("rope.freq_base")},
    }
    heads = {"attn_q": n_head, "attn_k": n_kv_head}
    found: dict[str, Tensor] = {}
    for each in reader.tensors:
        # A copy: the file is let go of afterwards.
        values = np.array(gguf.quants.dequantize(each.data, each.tensor_type), np.float32)
        tensor = torch.from_numpy(values.reshape(tuple(int(n) for n in reversed(each.shape))))
        part = each.name.split(".")[-2]
        if part in heads:
            tensor = to_halves(tensor, heads[part])
        found[_THEIRS[part].format(i=each.name.split(".")[1])] = tensor
    return config, found


_THEIRS: Final = {
    "token_embd": "model.embed_tokens.weight",
    "output_norm": "model.norm.weight",
    "output": "lm_head.weight",
    "attn_norm": "model.layers.{i}.input_layernorm.weight",
    "attn_q": "model.layers.{i}.self_attn.q_proj.weight",
    "attn_k": "model.layers.{i}.self_attn.k_proj.weight",
    "attn_v": "model.layers.{i}.self_attn.v_proj.weight",
    "attn_output": "model.layers.{i}.self_attn.o_proj.weight",
    "ffn_norm": "model.layers.{i}.post_attention_layernorm.weight",
    "ffn_gate": "model.layers.{i}.mlp.gate_proj.weight",
    "ffn_up": "model.layers.{i}.mlp.up_proj.weight",
    "ffn_down": "model.layers.{i}.mlp.down_proj.weight",
}
