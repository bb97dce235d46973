"""Byte-level BPE: train a vocabulary, encode and decode text, exchange it with other libraries."""

from bytemill.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
