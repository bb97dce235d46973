"""Small models for tests."""

import itertools
import random
from typing import get_args

import torch

from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.model.config import PRESETS
from bytemill.lm.model.variants import INITS, MLPS, NORM_POSITIONS, Norm, Position

# What can be chosen apart from sizes; a later choice does not depend on an earlier one.
CHOICES = {
    "mlp": [{"mlp": name} for name in MLPS],
    "norm_position": [{"norm_position": name} for name in NORM_POSITIONS],
    "position": [{"position": name} for name in get_args(Position)],
    "norm": [{"norm": name} for name in get_args(Norm)],
    "bias": [{"bias": True}, {"bias": False}],
    "norm_weights": [{"norm_weights": True}, {"norm_weights": False}],
    "qk_norm": [{"qk_norm": True}, {"qk_norm": False}],
    "embedding_norm": [{"embedding_norm": True}, {"embedding_norm": False}],
    "logit_softcap": [{"logit_softcap": 4.0}, {"logit_softcap": None}],
    "tie_embeddings": [{"tie_embeddings": True}, {"tie_embeddings": False}],
    "dropout": [{"dropout": 0.3}, {"dropout": 0.0}],
    "window": [
        {},
        {"window": 1, "window_pattern": "S"},
        {"window": 7, "window_pattern": "SL"},
        {"window": 48, "window_pattern": "LSS"},
    ],
    **{
        name: [{name: True}, {name: False}]
        for name in ("value_embeddings", "resid_scalars", "x0_scalars", "smear", "backout")
    },
    "qk_scale": [{"qk_scale": 1.3}, {"qk_scale": 1.0}],
    "vocab_multiple": [{"vocab_multiple": 50}, {"vocab_multiple": 1}],
    "init": [{"init": name} for name in INITS],
    "n_kv_head": [{"n_kv_head": n} for n in (1, 2, 4)],
    "n_layer": [{"n_layer": n} for n in (1, 3)],
    "sizes": [{}, {"rope_theta": 500.0, "norm_eps": 0.1}, {"d_model": 40, "d_ff": 72}],
}


# What makes a "cs336" a GPT-2.
GPT2 = {
    "norm": "layer", "bias": True, "mlp": "gelu", "position": "learned", "tie_embeddings": True,
    "n_kv_head": 4,
}  # fmt: skip


def variants(n_mixed, seed=0):
    """Every preset, with every variant alone, and `n_mixed` combinations: (preset, fields)."""
    alone = [fields for choices in CHOICES.values() for fields in choices]
    # What a preset has anyway is not tried once more.
    found = {}
    for name, fields in itertools.product(PRESETS, [{}, *alone]):
        found.setdefault(small_config(name, **fields), (name, fields))
    found = list(found.values())
    draw = random.Random(seed)
    for _ in range(n_mixed):
        fields = {}
        for choices in CHOICES.values():
            fields |= draw.choice(choices)
        found.append((draw.choice(PRESETS), fields))
    return found


def small_config(name="cs336", **fields):
    sizes = {
        "vocab_size": 97, "context_length": 48, "d_model": 64, "n_layer": 2, "n_head": 4,
        "n_kv_head": 2,
    }  # fmt: skip
    return ModelConfig.preset(name, **{**sizes, **fields})


def small_model(name="cs336", seed=0, **fields):
    """A model whose layers all matter: no weight is 0, or a norm's weight 1.

    Where no norm holds the residual stream, layers add less to it, as otherwise rounding errors
    grow with each.
    """
    generator = torch.Generator().manual_seed(seed)
    model = Transformer(small_config(name, **fields), generator=generator)
    inner = 0.15
    if model.config.norm_position == "none":
        inner = 0.04 if model.config.mlp == "relu2" else 0.07  # errors are squared, too
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = inner if name.startswith("layers.") else 0.15
            if "gate" in name:
                scale = 1.0  # gates of all sizes
            if name.startswith("backout."):
                parameter.copy_(0.3 + 0.1 * noise)  # about 1 it would cancel a short model
            else:
                is_factor = parameter.ndim == 1 and not name.endswith(".bias")
                parameter.copy_(1 + 0.3 * noise if is_factor else scale * noise)
    return model


def ids_like(model, rows, length, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocab_size, (rows, length), generator=generator)
