"""A folder of shards, and the tokenizer that they are of."""

import pytest

from bytemill import Tokenizer

BOS = "<|bos|>"


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.train(["some text to train on, and some more text"], 280, special_tokens=[BOS])


@pytest.fixture(scope="session")
def shards(tokenizer, tmp_path_factory):
    """A folder of several small shards in two splits."""
    import numpy as np

    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(5)
    texts = [
        " ".join(
            random.choice(["some", "text", "more", "and", f"{i}"], size=random.integers(1, 60))
        )
        for i in range(150)
    ]
    (folder / "text.txt").write_text(BOS.join(texts))
    tokenizer.encode_files(
        [folder / "text.txt"],
        folder / "shards",
        separator=BOS,
        separator_at="start",
        shard_tokens=1500,
        validation_fraction=0.2,
    )
    return folder / "shards"
