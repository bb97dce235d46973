"""Tiny runs for the tests of training: ids, configurations, models."""

import json

import numpy as np
import torch

from bytemill import Tokenizer
from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.checkpoint.store import sealed
from bytemill.lm.train import TrainConfig

BOS = "<|bos|>"
TEXT = "the cat sat on the mat. the dog sat on the log. a cat and a dog met. "


def documents(n=60):
    """Texts of unequal length."""
    rng = np.random.default_rng(0)
    words = TEXT.split()
    return [" ".join(rng.choice(words, size=rng.integers(5, 60))) for _ in range(n)]


def make_shards(folder, *, vocab_size=280, validation_fraction=0.2):
    """A tokenizer in folder/tokenizer and shards in folder/shards, documents beginning with BOS."""
    tokenizer = Tokenizer.train(documents(), vocab_size, [BOS])
    tokenizer.save(folder / "tokenizer")
    text = folder / "corpus.txt"
    text.write_text(BOS.join(["", *documents()]))
    tokenizer.encode_files(
        text, folder / "shards", separator=BOS, separator_at="start",
        validation_fraction=validation_fraction,
    )  # fmt: skip
    return tokenizer


def make_ids(folder, n=2000, vocab_size=64):
    """A flat file of ids that repeat with some noise."""
    rng = np.random.default_rng(0)
    ids = (np.arange(n) * 7 % vocab_size).astype(np.uint16)
    ids[rng.random(n) < 0.1] = 3
    np.save(folder / "ids.npy", ids)
    return folder / "ids.npy"


def edit_state(checkpoint, change):
    """Changes a checkpoint's state.json as the program would write it, its checksum included."""
    path = checkpoint / "state.json"
    path.write_text(json.dumps(sealed(change(json.loads(path.read_text())))))


def config(folder, **changes):
    """A run of a few hundredths of a second a step, from folder/ids.npy to folder/run."""
    fields = {
        "data": str(folder / "ids.npy"), "out": str(folder / "run"), "context_length": 16,
        "d_model": 32, "n_layer": 1, "n_head": 2, "batch_size": 4, "steps": 6, "threads": 1,
        "device": "cpu", "dtype": "float32", "eval_tokens": 128, "checkpoint_every": 0,
        "eval_every": 0, "log_every": 1,
    }  # fmt: skip
    return TrainConfig.of(**{**fields, **changes})


def tiny_model(preset="gpt", seed=0, **changes):
    """A model of some thousand parameters, none of them zero."""
    sizes = {"vocab_size": 64, "context_length": 16, "d_model": 32, "n_layer": 2, "n_head": 2}
    model = ModelConfig.preset(preset, **{**sizes, **changes})
    generator = torch.Generator().manual_seed(seed)
    result = Transformer(model, generator=generator)
    with torch.no_grad():
        for weight in result.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return result
