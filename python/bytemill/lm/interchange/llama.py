"""Llama's architecture, that of the preset `cs336`: Touvron et al. 2023."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from bytemill.lm.interchange.architecture import Architecture, Fields
from bytemill.lm.interchange.entries import Entry, first_rows, plain, turned
from bytemill.lm.model.config import ModelConfig


class Llama(Architecture):
    """transformers' LlamaForCausalLM."""

    name: ClassVar = "LlamaForCausalLM"
    model_type: ClassVar = "llama"
    variant: ClassVar = {
        "norm": "rms",
        "bias": False,
        "mlp": "swiglu",
        "norm_weights": True,
        "qk_norm": False,
        "embedding_norm": False,
        "logit_softcap": None,
        "position": "rope",
    }
    ignored: ClassVar = ("rotary_emb.inv_freq",)

    def config_out(self, config: ModelConfig) -> dict[str, Any]:
        """See `Architecture`."""
        return {
            **sizes_out(config),
            "hidden_act": "silu",
            "head_dim": config.head_dim,
            "attention_bias": False,
            "mlp_bias": False,
        }

    def config_in(self, theirs: Fields) -> ModelConfig:
        """See `Architecture`."""
        theirs.expect("hidden_act", "silu", "silu", "swish")
        theirs.expect("attention_bias", False, False)
        theirs.expect("mlp_bias", False, False)
        return self.config_from(theirs, **sizes_in(theirs))

    def entries(self, config: ModelConfig) -> Iterator[Entry]:
        """See `Architecture`."""
        yield from outer_entries(config)
        yield plain("ln_final.weight", "model.norm.weight")
        for i in range(config.n_layer):
            ours, theirs = f"layers.{i}", f"model.layers.{i}"
            yield from attention_entries(config, i, swapped=False)
            yield plain(f"{ours}.ln1.weight", f"{theirs}.input_layernorm.weight")
            yield plain(f"{ours}.ln2.weight", f"{theirs}.post_attention_layernorm.weight")
            yield plain(f"{ours}.ffn.w1.weight", f"{theirs}.mlp.gate_proj.weight")
            yield plain(f"{ours}.ffn.w3.weight", f"{theirs}.mlp.up_proj.weight")
            yield plain(f"{ours}.ffn.w2.weight", f"{theirs}.mlp.down_proj.weight")


def sizes_out(config: ModelConfig) -> dict[str, Any]:
    """The fields that models with RoPE have in common in transformers."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        # The older place and, from version 5 on, the newer.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
    }


def sizes_in(theirs: Fields) -> dict[str, Any]:
    """What `sizes_out` made, as fields of `ModelConfig`."""
    width, n_head = theirs.size("hidden_size"), theirs.size("num_attention_heads")
    theirs.expect("head_dim", width // n_head, width // n_head)
    return {
        "vocab_size": theirs.size("vocab_size"),
        "context_length": theirs.size("max_position_embeddings"),
        "d_model": width,
        "n_layer": theirs.size("num_hidden_layers"),
        "n_head": n_head,
        "n_kv_head": theirs.get("num_key_value_heads", n_head),
        "d_ff": theirs.size("intermediate_size"),
        "rope_theta": theirs.rope_theta(),
        "norm_eps": theirs.get("rms_norm_eps", 1e-6),
        "tie_embeddings": bool(theirs.get("tie_word_embeddings", False)),
    }


def outer_entries(config: ModelConfig) -> Iterator[Entry]:
    """Embedding and head."""
    n = config.vocab_size
    yield first_rows("token_embeddings.weight", "model.embed_tokens.weight", n)
    if not config.tie_embeddings:
        yield first_rows("lm_head.weight", "lm_head.weight", n)


def attention_entries(config: ModelConfig, layer: int, *, swapped: bool) -> Iterator[Entry]:
    """A layer's four projections."""
    ours, theirs = f"layers.{layer}.attn", f"model.layers.{layer}.self_attn"
    for name, heads in (("q_proj", config.n_head), ("k_proj", config.n_kv_head)):
        names = f"{ours}.{name}.weight", f"{theirs}.{name}.weight"
        yield turned(*names, heads, swapped=swapped)
    yield plain(f"{ours}.v_proj.weight", f"{theirs}.v_proj.weight")
    yield plain(f"{ours}.output_proj.weight", f"{theirs}.o_proj.weight")
