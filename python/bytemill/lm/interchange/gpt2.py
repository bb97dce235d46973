"""GPT-2's architecture: Radford et al. 2019, and OpenAI's weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from torch import Tensor

from bytemill.lm.interchange.architecture import Architecture, Fields
from bytemill.lm.interchange.entries import Entry, first_rows, joined, plain, transposed
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.transformer import Transformer

_PREFIX: Final = "transformer."
_POSITIONS: Final = "position_embeddings.weight"


class GPT2(Architecture):
    """transformers' GPT2LMHeadModel; its matrices are (d_in, d_out)."""

    name: ClassVar = "GPT2LMHeadModel"
    model_type: ClassVar = "gpt2"
    variant: ClassVar = {
        "norm": "layer",
        "bias": True,
        "mlp": "gelu",
        "norm_weights": True,
        "qk_norm": False,
        "embedding_norm": False,
        "logit_softcap": None,
        "position": "learned",
    }
    ignored: ClassVar = (".attn.bias", ".attn.masked_bias")  # masks

    @classmethod
    def misfits(cls, config: ModelConfig) -> list[str]:
        """See `Architecture`; its keys have as many heads as its queries."""
        found = super().misfits(config)
        if config.n_kv_head != config.n_head:
            found.append(f"n_kv_head is {config.n_kv_head} and not n_head, {config.n_head}")
        return found

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Architecture`; OpenAI's own names lack the prefix."""
        if any(name.startswith(_PREFIX) for name in tensors):
            return dict(tensors)
        return {k if k == "lm_head.weight" else _PREFIX + k: t for k, t in tensors.items()}

    def shortened(self, model: Transformer, length: int) -> Transformer:
        """See `Architecture`; the positions beyond it go."""
        shorter = Transformer(dataclasses.replace(model.config, context_length=length))
        weights = model.state_dict()
        shorter.load_state_dict({**weights, _POSITIONS: weights[_POSITIONS][:length]})
        return shorter

    def config_out(self, config: ModelConfig) -> dict[str, Any]:
        """See `Architecture`."""
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.context_length,
            "n_embd": config.d_model,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": config.d_ff,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            "tie_word_embeddings": config.tie_embeddings,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": 0.0,
        }

    def config_in(self, theirs: Fields) -> ModelConfig:
        """See `Architecture`."""
        # The approximation by tanh under its names; the exact function is another one.
        tanh = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
        theirs.expect("activation_function", "gelu_new", *tanh)
        theirs.expect("scale_attn_weights", True, True)
        theirs.expect("scale_attn_by_inverse_layer_idx", False, False)
        theirs.expect("add_cross_attention", False, False)
        width, n_head = theirs.size("n_embd"), theirs.size("n_head")
        return self.config_from(
            theirs,
            vocab_size=theirs.size("vocab_size"),
            context_length=theirs.size("n_positions"),
            d_model=width,
            n_layer=theirs.size("n_layer"),
            n_head=n_head,
            n_kv_head=n_head,
            d_ff=theirs.get("n_inner", 4 * width),
            norm_eps=theirs.get("layer_norm_epsilon", 1e-5),
            tie_embeddings=bool(theirs.get("tie_word_embeddings", True)),
        )

    def entries(self, config: ModelConfig) -> Iterator[Entry]:
        """See `Architecture`."""
        n = config.vocab_size
        yield first_rows("token_embeddings.weight", "transformer.wte.weight", n)
        yield plain(_POSITIONS, "transformer.wpe.weight")
        if not config.tie_embeddings:
            yield first_rows("lm_head.weight", "lm_head.weight", n)
        yield from _norm("ln_final", "transformer.ln_f")
        for i in range(config.n_layer):
            ours, theirs = f"layers.{i}", f"transformer.h.{i}"
            yield from _norm(f"{ours}.ln1", f"{theirs}.ln_1")
            yield from _norm(f"{ours}.ln2", f"{theirs}.ln_2")
            qkv = [f"{ours}.attn.{name}_proj" for name in "qkv"]
            yield from _matrix(qkv, f"{theirs}.attn.c_attn")
            yield from _matrix([f"{ours}.attn.output_proj"], f"{theirs}.attn.c_proj")
            yield from _matrix([f"{ours}.ffn.w1"], f"{theirs}.mlp.c_fc")
            yield from _matrix([f"{ours}.ffn.w2"], f"{theirs}.mlp.c_proj")


def _norm(ours: str, theirs: str) -> Iterator[Entry]:
    for part in ("weight", "bias"):
        yield plain(f"{ours}.{part}", f"{theirs}.{part}")


def _matrix(ours: list[str], theirs: str) -> Iterator[Entry]:
    yield transposed([f"{name}.weight" for name in ours], f"{theirs}.weight")
    yield joined([f"{name}.bias" for name in ours], f"{theirs}.bias")
