"""Byte-level BPE tokenizers: train, encode and decode, with the ids that tiktoken gives."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bytemill._core import Counts
    from bytemill.tokenizer.tokenizer import Tokenizer
    from bytemill.tokenizer.trainer import BpeTrainer, train_bpe

    __version__: str

__all__ = ["BpeTrainer", "Counts", "Tokenizer", "__version__", "train_bpe"]

# Imported when they are first asked for: a program is to answer Ctrl-C before.
_FROM = {
    "BpeTrainer": "bytemill.tokenizer.trainer",
    "Counts": "bytemill._core",
    "Tokenizer": "bytemill.tokenizer.tokenizer",
    "train_bpe": "bytemill.tokenizer.trainer",
}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        found = getattr(importlib.import_module(_FROM[name]), name)
    elif name == "__version__":
        # importlib.metadata takes longer to import than all of bytemill.
        from importlib.metadata import version

        found = version("bytemill")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
