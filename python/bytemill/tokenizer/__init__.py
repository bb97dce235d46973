"""Tokenizers: training one, and encoding and decoding with it."""
