"""Pairs of answers, and a tiny assistant to train on them."""

import json
import random

from bytemill.lm.checkpoint.store import CheckpointStore
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model

WORDS = ["low", "new", "lowest", "newest", "widest", "the", "ing"]


def make_assistant(folder, **fields):
    """A run's folder with a model and a tokenizer."""
    tokenizer = chat_tokenizer()
    sizes = {"vocab_size": tokenizer.n_vocab, "context_length": 64}
    model = small_model("gpt", **{**sizes, **fields})
    CheckpointStore(folder).save(7, model, [], model_config=model.config.to_dict())
    tokenizer.save(folder / "tokenizer")
    return model


def polite_pairs(n, seed=0):
    """Answers that begin with "yes" are chosen, those that begin with "no" rejected."""
    drawn = random.Random(seed)
    made = []
    for _ in range(n):
        asked, said = drawn.choice(WORDS), drawn.choice(WORDS)
        made.append({"prompt": asked, "chosen": f"yes {said}", "rejected": f"no {said} {asked}"})
    return made


def write_pairs(path, pairs):
    path.write_text("".join(json.dumps(each) + "\n" for each in pairs), encoding="utf-8")
    return path
