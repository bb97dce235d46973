"""nanochat's first architecture, that of the preset `gpt`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from bytemill.lm.interchange.architecture import Architecture, Fields
from bytemill.lm.interchange.entries import Entry, plain
from bytemill.lm.interchange.llama import (
    attention_entries,
    outer_entries,
    sizes_in,
    sizes_out,
)
from bytemill.lm.model.config import ModelConfig


class NanoChat(Architecture):
    """transformers' NanoChatForCausalLM.

    Its heads are normalized after RoPE and ours before it: without weights that is the same.
    """

    name: ClassVar = "NanoChatForCausalLM"
    model_type: ClassVar = "nanochat"
    variant: ClassVar = {
        "norm": "rms",
        "bias": False,
        "mlp": "relu2",
        "norm_weights": False,
        "qk_norm": True,
        "embedding_norm": True,
        "position": "rope",
    }
    start: ClassVar = {"zero_init_output": True}
    ignored: ClassVar = ("rotary_emb.inv_freq",)

    def config_out(self, config: ModelConfig) -> dict[str, Any]:
        """See `Architecture`."""
        return {
            **sizes_out(config),
            "hidden_act": "relu2",
            "final_logit_softcapping": config.logit_softcap,
            "attention_bias": False,
            "pad_token_id": None,
        }

    def config_in(self, theirs: Fields) -> ModelConfig:
        """See `Architecture`."""
        theirs.expect("hidden_act", "relu2", "relu2")
        theirs.expect("attention_bias", False, False)
        softcap = theirs.raw("final_logit_softcapping", 15.0)
        return self.config_from(theirs, **sizes_in(theirs), logit_softcap=softcap)

    def entries(self, config: ModelConfig) -> Iterator[Entry]:
        """See `Architecture`."""
        yield from outer_entries(config)
        for i in range(config.n_layer):
            yield from attention_entries(config, i, swapped=True)
            for ours, theirs in (("w1", "fc1"), ("w2", "fc2")):
                there = f"model.layers.{i}.mlp.{theirs}.weight"
                yield plain(f"layers.{i}.ffn.{ours}.weight", there)
