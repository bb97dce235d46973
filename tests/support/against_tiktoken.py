"""What the tests of encoding and decoding share: tokenizers with tiktoken's beside them."""

import functools
import os
import random
from typing import Any

import pytest

from bytemill import Tokenizer
from tests.support.vocabularies import CACHE, CUSTOM, NAMED, OVERLAPPING, generated_text, train

PUBLISHED = ("gpt2", "r50k_base", "cl100k_base", "o200k_base", "o200k_harmony")
PATTERNS = (*NAMED, *CUSTOM)
ALL = (*PUBLISHED, *(f"trained: {pattern}" for pattern in PATTERNS))
CASES = float(os.environ.get("BYTEMILL_CASES", "1"))
TEXT = generated_text()

# Where overlapping special tokens meet, tiktoken's order is that of a hash table; with these it is
# defined.
SPECIAL = ("<|end|>", "[x] (.*)", "<s p>", "€", "<|endoftext|>")


def cases(n: int) -> int:
    """`n`, times what BYTEMILL_CASES asks for."""
    return max(1, int(n * CASES))


@functools.cache
def trained(pattern: str, special: tuple[str, ...] = SPECIAL) -> Tokenizer:
    """A small vocabulary of any pattern."""
    return train([TEXT], 420, special, pattern)


@functools.cache
def overlapping(pattern: str) -> Tokenizer:
    """One with special tokens of which one is the beginning of another."""
    return trained(pattern, OVERLAPPING)


@functools.cache
def pair(name: str) -> tuple[Tokenizer, Any]:
    """One of `ALL`, a published vocabulary or a trained one, with tiktoken's encoding of it."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    if name in PUBLISHED:
        if not CACHE.is_dir():
            pytest.skip(f"no tiktoken cache at {CACHE}; set BYTEMILL_TIKTOKEN_CACHE")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
            encoding = tiktoken.get_encoding(name)
        return Tokenizer.from_tiktoken(encoding), encoding
    tokenizer = trained(name.removeprefix("trained: "))
    encoding = tiktoken.Encoding(
        "trained",
        pat_str=tokenizer.pat_str,
        mergeable_ranks=tokenizer.mergeable_ranks,
        special_tokens=tokenizer.special_tokens,
    )
    return tokenizer, encoding


def lossless(tokenizer: Tokenizer) -> bool:
    """Whether every character belongs to a pretoken."""
    return tokenizer.pat_str != CUSTOM[1]


def edge_cases() -> list[str]:
    """Texts of the kinds that go wrong, the long ones not so long that the tests take minutes."""
    rng = random.Random(0)
    letters = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2000))
    spaces = [" ", "\n", "\r\n", "\r", "\u00a0", "\u0085", "\u3000", "\u180e", "\ufeff", "\u200b"]
    texts = ["", "a", "\x00", "é", "\ufeffa", "a\rb\rc", "a" * 3000, "A" * 3000, "_" * 999]
    texts += ["^" * 3000, letters, "".join(rng.choices("ACGT", k=3000))]
    for space in spaces:
        texts += [space * 300 + "x", "x" + space * 300, space * 300, "x" + space * 3 + "y"]
    mixed = " \n \n x\t\t\r\n \u3000 y\u00a0\n\n  "
    texts += [mixed[:i] for i in range(len(mixed))]
    texts += ["\ud83d\udc4d", "\ud83d", "\udc4d", "a\udc4d\ud83db", "\ud83d\ud83d\udc4d x \udc4d"]
    texts += ["\ud83d\U0001f44d", "\U0001f44d\udc4d", "é\ud83d\udc4dü"]
    texts += [
        "\u0301a\u0301",
        "\u1100\u1161\u11a8",
        "कि नमस्ते",
        "ก็ที่นี่",
        "👩‍👩‍👧‍👦👍🏽🇺🇳🇪🇺",
        "שָׁלוֹם السَّلام",
    ]
    texts += [chr(0x10000 * plane + 0xFFFD) * 2 for plane in range(17)] + ["\u0378\u0379"]
    texts += ["'S", "'ſ", "I'M", "I’m", "ǅ", "İ", "Ⅷ½१२३٣", "x²³", "we'll 'LL 'l 're'Ve"]
    for token in ("<|endoftext|>", "<|end|>", "[x] (.*)", "€"):
        texts += [token, token * 2, f" {token} ", f"a \n{token}\n b", token[:-1], token[1:]]
        texts += [f"{token[:-1]}{token}", f"x{token}'s  {token}  "]
    return texts
