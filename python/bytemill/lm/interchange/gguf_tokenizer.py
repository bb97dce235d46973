"""A tokenizer's tokens and merges as GGUF files have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bytemill import Tokenizer, patterns
from bytemill.formats.byte_alphabet import to_text

_PRE: Final = {"gpt2": "gpt-2", "cl100k": "llama-bpe", "o200k": "gpt-4o"}
"""llama.cpp's names of the patterns that it splits text by; it takes none from a file."""


@dataclass(frozen=True)
class Words:
    """What a file says of a tokenizer."""

    pre: str
    """By what text is split."""
    tokens: list[str]
    """Of each id, bytes in GPT-2's alphabet."""
    kinds: list[str]
    """Of each id: NORMAL, CONTROL or UNUSED."""
    merges: list[str]


def words_of(tokenizer: Tokenizer, vocab_size: int) -> Words:
    """The tokens of a model with so many ids; those that stand for nothing are marked as unused.

    Raises:
        ValueError: llama.cpp has no way of splitting text as the tokenizer does.
    """
    vocabulary = tokenizer.vocabulary
    name = patterns.name_of(vocabulary.pat_str)
    if name not in _PRE:
        shown = name or f"of your own, {vocabulary.pat_str!r}"
        raise ValueError(
            f"llama.cpp cannot split text by the pattern {shown}: it has those of "
            f"{', '.join(_PRE)}; leave the tokenizer out, and tokenize with bytemill"
        )
    tokens = [f"[UNUSED_{i}]" for i in range(vocab_size)]
    kinds = ["UNUSED"] * vocab_size
    for token, id_ in vocabulary.mergeable_ranks.items():
        tokens[id_], kinds[id_] = to_text(token), "NORMAL"
    for text, id_ in vocabulary.special_tokens.items():
        tokens[id_], kinds[id_] = text, "CONTROL"
    pairs = [pair for pair in vocabulary.splits().values() if pair is not None]
    return Words(_PRE[name], tokens, kinds, [f"{to_text(a)} {to_text(b)}" for a, b in pairs])
