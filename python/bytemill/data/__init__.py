"""Text inputs: paths, folders and globs of .txt, .jsonl and .parquet, each also as .gz or .zst;
token shards on disk."""

from bytemill.data.documents import iter_documents
from bytemill.data.inputs import InputFile, Paths, expand_inputs
from bytemill.data.shards import Manifest, Shard, Shards, open_shards

__all__ = [
    "InputFile",
    "Manifest",
    "Paths",
    "Shard",
    "Shards",
    "expand_inputs",
    "iter_documents",
    "open_shards",
]
