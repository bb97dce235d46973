"""Small models for tests."""

import torch

from bytemill.lm import ModelConfig, Transformer


def small_config(name="cs336", **fields):
    sizes = {
        "vocab_size": 97, "context_length": 48, "d_model": 64, "n_layer": 2, "n_head": 4,
        "n_kv_head": 2,
    }  # fmt: skip
    return ModelConfig.preset(name, **{**sizes, **fields})


def small_model(name="cs336", seed=0, **fields):
    """A model whose layers all matter: no weight is 0, or a norm's weight 1."""
    generator = torch.Generator().manual_seed(seed)
    model = Transformer(small_config(name, **fields), generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.15 * noise)
    return model


def ids_like(model, rows, length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocab_size, (rows, length), generator=generator)
