"""Text inputs: paths, folders and globs of .txt, .jsonl and .parquet, each also as .gz or .zst."""

from bytemill.data.documents import iter_documents
from bytemill.data.inputs import InputFile, Paths, expand_inputs

__all__ = ["InputFile", "Paths", "expand_inputs", "iter_documents"]
