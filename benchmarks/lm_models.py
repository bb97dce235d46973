"""The models that `benchmarks.lm` compares: bytemill's, and transformers' of the same shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.interchange.homes import home_of

Shape = dict[str, int]


def ours(preset: str, shape: Shape, device: str = "cpu") -> Transformer:
    """A preset at a shape, with weights that depend on nothing else."""
    config = ModelConfig.preset(preset, **shape)  # type: ignore[arg-type]
    # On the CPU, so that the weights are the same everywhere.
    model = Transformer(config, generator=torch.Generator().manual_seed(1))
    return model.to(device)


def llama(shape: Shape, device: str = "cpu") -> Any:
    """`LlamaForCausalLM` of the `cs336` preset's shape, in fp32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = ModelConfig.preset("cs336", **shape)
    torch.manual_seed(1)
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.n_kv_head,
            max_position_embeddings=config.context_length,
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=False,
        )
    )
    return model.to(device)


def nanochat(shape: Shape) -> Any:
    """`NanoChatForCausalLM` of the `gpt` preset's shape, in fp32."""
    from transformers import NanoChatConfig, NanoChatForCausalLM

    config = ModelConfig.preset("gpt", **shape)
    torch.manual_seed(1)
    model: Any = NanoChatForCausalLM(NanoChatConfig(**home_of(config).config_out(config)))
    return model


@torch.no_grad()
def give_all_a_part(model: Transformer) -> None:
    """Draws the matrices that start as zeros, which hide what is before them."""
    generator = torch.Generator().manual_seed(2)
    for weight in model.parameters():
        if not weight.any():
            weight.normal_(0, weight.shape[-1] ** -0.5, generator=generator)


@torch.no_grad()
def export_weights(model: Transformer, to: Any) -> None:
    """Gives a NanoChat the weights of a `gpt` model, which makes them the same function."""
    own = model.state_dict()
    entries = home_of(model.config).entries(model.config)
    to.load_state_dict({e.theirs: e.out([own[name] for name in e.ours]) for e in entries})


@torch.no_grad()
def copy_weights(model: Transformer, to: Any) -> None:
    """Gives a Llama the weights of a `cs336` model, which makes them the same function.

    Llama turns dimensions i and i + head_dim / 2 of a head together, bytemill 2i and 2i + 1: the
    rows of the query and key projections are put in that order.
    """
    size = model.config.head_dim

    def halves(weight: Tensor) -> Tensor:
        pairs = weight.view(-1, size // 2, 2, weight.shape[1])
        return pairs.transpose(1, 2).reshape(weight.shape)

    to.model.embed_tokens.weight.copy_(model.token_embeddings.weight)
    to.model.norm.weight.copy_(model.ln_final.weight)
    to.lm_head.weight.copy_(model.lm_head.weight)
    for block, layer in zip(model.layers, to.model.layers, strict=True):
        own: Any = block
        layer.input_layernorm.weight.copy_(own.ln1.weight)
        layer.post_attention_layernorm.weight.copy_(own.ln2.weight)
        layer.self_attn.q_proj.weight.copy_(halves(own.attn.q_proj.weight))
        layer.self_attn.k_proj.weight.copy_(halves(own.attn.k_proj.weight))
        layer.self_attn.v_proj.weight.copy_(own.attn.v_proj.weight)
        layer.self_attn.o_proj.weight.copy_(own.attn.output_proj.weight)
        layer.mlp.gate_proj.weight.copy_(own.ffn.w1.weight)
        layer.mlp.up_proj.weight.copy_(own.ffn.w3.weight)
        layer.mlp.down_proj.weight.copy_(own.ffn.w2.weight)


def tokens(shape: Shape, batch_size: int, seed: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Ids and targets (B, T), drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    size = (batch_size, shape["context_length"] + 1)
    ids = torch.randint(shape["vocab_size"], size, generator=generator).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
