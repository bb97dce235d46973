"""Encodes files to token shards, and reads them through memory maps.

python examples/encode_corpus.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from small import BOS, tokenizer_and_shards

from bytemill import Tokenizer
from bytemill.data import open_shards


def main() -> None:
    """Encodes and reads."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_folder, shard_folder = tokenizer_and_shards(Path(folder))
        tokenizer = Tokenizer.load(tokenizer_folder)
        # Another tokenizer's shards would be refused.
        train = open_shards(shard_folder, tokenizer=tokenizer)
        val = open_shards(shard_folder, tokenizer=tokenizer, split="val")
        print(f"train  {train.n_tokens:>9,} tokens in {train.n_documents} documents")
        print(f"val    {val.n_tokens:>9,} tokens in {val.n_documents} documents")
        document = train.document(0)
        assert document[0] == tokenizer.special_tokens[BOS]
        print(f"the first document begins {tokenizer.decode(document[:12])!r}")
        # Slices within a shard are views of the file: nothing is copied.
        window = train[1000:1064]
        print(f"64 ids from the middle: {window.dtype}, owns its memory: {window.flags.owndata}")


if __name__ == "__main__":
    main()
