"""Very many short strings against tiktoken: `BYTEMILL_CASES=500` makes it a million of each."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.support.against_tiktoken import ALL, TEXT, cases, pair

AT_ONCE = 20_000
# Where patterns, merges and UTF-8 take turns: classes, their borders, wide and narrow characters.
PIECES = [
    *"abzABZ019 .,;:'\"/_-^\n\r\t\u00a0\u3000\u0085",
    "'s", "'LL", "'ſ", "  ", "\n\n", "\r\n", " \n ", "12345", "the", " the", " Word", "ing",
    "é", "ß", "İ", "ǅ", "Ⅷ", "½", "١", "к", "ова", "\u0301", "\u200d", "ー", "の", "した", "カタ",
    "中国", "我们", "的", "龍", "裏", "한", "국어", "ไทย", "नमस्", "👍🏽", "🇺🇳", "𐍈", "\ufeff",
    "\ufffd", "<|endoftext|>", "<|end", "=" * 17, "x" * 33,
]  # fmt: skip


def strings(n: int) -> Iterator[str]:
    """Pieces at random, runs of them, and cuttings of text; always the same."""
    rng = random.Random(2024)
    for _ in range(n):
        kind = rng.randrange(4)
        if kind == 0:
            start = rng.randrange(len(TEXT))
            yield TEXT[start : start + rng.randrange(60)]
        elif kind == 1:
            few = rng.sample(PIECES, 3)
            yield "".join(rng.choices(few, k=rng.randrange(30)))
        elif kind == 2:
            yield "".join(chr(rng.choice(BLOCKS) + rng.randrange(64)) for _ in range(9))
        else:
            yield "".join(rng.choices(PIECES, k=rng.randrange(16)))


BLOCKS = [0x20, 0x40, 0xC0, 0x400, 0x5D0, 0x900, 0xE00, 0x2000, 0x3040, 0x30A0, 0x4E00, 0x9F40]
BLOCKS += [0xAC00, 0xFF00, 0x1F600, 0x20000]


def shrunk(text: str, fails: Callable[[str], bool]) -> str:
    """The text without any character that is not needed for it to fail."""
    i = 0
    while i < len(text):
        shorter = text[:i] + text[i + 1 :]
        if fails(shorter):
            text = shorter
        else:
            i += 1
    return text


@pytest.mark.parametrize("name", ALL)
def test_strings(name: str) -> None:
    tokenizer, encoding = pair(name)

    def fails(text: str) -> bool:
        return bool(tokenizer.encode_ordinary(text) != encoding.encode_ordinary(text))

    n, source = cases(2000), strings(cases(2000))
    for start in range(0, n, AT_ONCE):
        batch = [next(source) for _ in range(min(AT_ONCE, n - start))]
        found = tokenizer.encode_ordinary_batch(batch)
        for text, ids, expected in zip(
            batch, found, encoding.encode_ordinary_batch(batch), strict=True
        ):
            assert ids == expected, repr(shrunk(text, fails))
