"""Tokenizers: training one, and encoding and decoding with it.

`tokenizer` has the class `Tokenizer`, which is `contents` (what it is made of), `encoding` (text to
ids) and `decoding` (ids to text) in one, and the doors to files and other libraries; `changing`
makes larger and smaller ones (`extending`, `pruning`); `tiktoken_surface` has tiktoken's methods.
`trainer` has `BpeTrainer` and `train_bpe`; `vocabulary_trainer` is what both and `Tokenizer.train`
are made of.
"""

from bytemill.tokenizer.decoding import StreamDecoder
from bytemill.tokenizer.tokenizer import Tokenizer
from bytemill.tokenizer.trainer import BpeTrainer, train_bpe

__all__ = ["BpeTrainer", "StreamDecoder", "Tokenizer", "train_bpe"]
