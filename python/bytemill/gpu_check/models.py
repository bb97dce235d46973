"""The models that are trained and timed: ours, and transformers' of the same shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bytemill.gpu_check.sizes import Shape
from bytemill.lm.model.config import ModelConfig, Preset
from bytemill.lm.model.transformer import Transformer


def ours(preset: Preset, shape: Shape, device: torch.device) -> Transformer:
    """A preset at a shape; the same weights on every device."""
    config = ModelConfig.preset(
        preset,
        vocab_size=shape.vocab_size,
        context_length=shape.context_length,
        d_model=shape.d_model,
        n_layer=shape.n_layer,
        n_head=shape.n_head,
    )
    return Transformer(config, generator=torch.Generator().manual_seed(1)).to(device)


def theirs(kind: str, shape: Shape, device: torch.device) -> Any:
    """transformers' "llama" or "nanochat" model in fp32.

    Raises:
        ImportError: transformers is not installed, or does not have it.
    """
    import transformers

    torch.manual_seed(1)
    common: dict[str, Any] = {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.d_model,
        "num_hidden_layers": shape.n_layer,
        "num_attention_heads": shape.n_head,
        "num_key_value_heads": shape.n_head,
        "max_position_embeddings": shape.context_length,
        "tie_word_embeddings": False,
        "use_cache": False,
    }
    # The inner width of each kind is that of our preset: as many parameters.
    model: Any
    if kind == "llama":
        inner = max(64, round(8 * shape.d_model / 3 / 64) * 64)
        config: Any = transformers.LlamaConfig(intermediate_size=inner, **common)
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.NanoChatConfig(intermediate_size=4 * shape.d_model, **common)
        model = transformers.NanoChatForCausalLM(config)
    return model.to(device)


def random_batch(shape: Shape, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ids and targets (B, T), drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    size = (shape.batch_size, shape.context_length + 1)
    ids = torch.randint(shape.vocab_size, size, generator=generator).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def counting_ids(n: int, vocab_size: int, seed: int = 0) -> Tensor:
    """(n,) int64 ids that can be learned: each follows from the one before, but for a tenth."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.arange(n) * 7 % vocab_size
    ids[torch.rand(n, generator=generator) < 0.1] = 3
    return ids
