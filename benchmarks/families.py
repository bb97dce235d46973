"""Texts that break tokenizers: long runs and white space, of any length; and text without end."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator

Maker = Callable[[int], str]


def _letters(alphabet: str) -> Maker:
    return lambda n: "".join(random.Random(n).choices(alphabet, k=n))


def _base64(n: int) -> str:
    return base64.b64encode(random.Random(n).randbytes(n)).decode()[:n]


def _repeated(unit: str, end: str = "") -> Maker:
    return lambda n: (unit * (n // len(unit) + 1))[:n] + end


FAMILIES: dict[str, Maker] = {
    "a run": _repeated("a"),
    "A run": _repeated("A"),
    "underscores": _repeated("_"),
    "carets": _repeated("^"),
    "random letters": _letters("abcdefghijklmnopqrstuvwxyz"),
    "base64": _base64,
    "DNA": _letters("ACGT"),
    "spaces, x": _repeated(" ", "x"),
    "x, spaces": lambda n: "x" + " " * n,
    "newlines": _repeated("\n"),
    "CR LF": _repeated("\r\n"),
    "no-break spaces": _repeated("\u00a0"),
    "next lines": _repeated("\u0085"),
    "ideographic spaces": _repeated("\u3000"),
    "vowel separators": _repeated("\u180e"),
    "byte order marks": _repeated("\ufeff"),
    "zero-width spaces": _repeated("\u200b"),
    "mixed spaces": _repeated(" \n \n x"),
    "random white space": _letters(" \t\n\r\u00a0\u3000"),
    "CJK": _letters("的一是不了人我在有他这中大来上国个到说们"),
}
"""A family makes a text of about n characters, the same at each call."""


def distinct_strings(n_bytes: int, seed: int = 7) -> Iterator[str]:
    """Strings of `n_bytes` ASCII letters and spaces, in which hardly a word comes twice."""
    rng = random.Random(seed)
    # A space after five letters on average; common letters more often than rare ones.
    letters = b"etaoinsrhldcumfpgwybvkxjqz"
    weights = [max(1, 22 - i) for i in range(26)]
    drawn = rng.choices(letters, weights, k=213)
    table = bytes(drawn) + b" " * (256 - len(drawn))
    while True:
        yield rng.randbytes(n_bytes).translate(table).decode()
