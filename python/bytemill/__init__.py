"""Byte-level BPE tokenizers: train, encode and decode, with the ids that tiktoken gives."""

from typing import TYPE_CHECKING

from bytemill._core import Counts
from bytemill.tokenizer.tokenizer import Tokenizer
from bytemill.tokenizer.trainer import BpeTrainer, train_bpe

if TYPE_CHECKING:
    __version__: str

__all__ = ["BpeTrainer", "Counts", "Tokenizer", "__version__", "train_bpe"]


def __getattr__(name: str) -> str:
    # importlib.metadata takes longer to import than all of bytemill.
    if name == "__version__":
        from importlib.metadata import version

        return version("bytemill")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
