"""What the soak works with, and what must come of it by the definition."""

from __future__ import annotations

import itertools
import random

import regex

from bytemill import Tokenizer
from tests.support import naive
from tests.support.vocabularies import PIECES

SPECIAL = ["<|end|>", "<|end|><|end|>"]
PATTERNS = {"gpt2": naive.GPT2, r"\w+|\s+|[^\w\s]": r"\w+|\s+|[^\w\s]"}
SUPERWORDS = "superwords"
WORDS = ["low", "lower", "lowest", "new", "newer", "newest", "wide", "the", "a", "of", "and"]


def text_of(rng: random.Random, n: int) -> str:
    """Text with hard places, special tokens among them."""
    return "".join(rng.choice(PIECES) if rng.random() < 0.4 else rng.choice(WORDS) + " "
                   for _ in range(n))  # fmt: skip


def naive_ids(tokenizer: Tokenizer, pattern: str, text: str, special: bool = True) -> list[int]:
    """The ids by the definition: cut at special tokens, into pretokens, and merge by rank."""
    ranks, ids = tokenizer.mergeable_ranks, []
    known = tokenizer.special_tokens if special else {}
    longest_first = sorted(known, key=len, reverse=True)
    parts = [text]
    if longest_first:
        parts = regex.split("(" + "|".join(map(regex.escape, longest_first)) + ")", text)
    for i, part in enumerate(parts):
        if i % 2:
            ids.append(known[part])
            continue
        for found in regex.finditer(pattern, part):
            word = [bytes([byte]) for byte in found[0].encode()]
            while len(word) > 1:
                pairs = [ranks.get(a + b, len(ranks)) for a, b in itertools.pairwise(word)]
                best = min(pairs)
                if best == len(ranks):
                    break
                at = pairs.index(best)
                word[at : at + 2] = [word[at] + word[at + 1]]
            ids += [ranks[token] for token in word]
    return ids
