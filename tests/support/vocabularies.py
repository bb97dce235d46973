"""What the tests of `Tokenizer` share: small vocabularies, hard texts, the shared data."""

import functools
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st

from bytemill import Tokenizer, _core, patterns
from bytemill.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
CORPORA = Path(os.environ.get("BYTEMILL_CORPORA", ROOT / "../shared/corpora"))
CACHE = Path(os.environ.get("BYTEMILL_TIKTOKEN_CACHE", ROOT / "../shared/tiktoken_cache"))

NAMED = patterns.NAMES
# The second leaves text unmatched, which belongs to no pretoken.
CUSTOM = (r" ?[A-Za-z]+|[0-9]{2}|\s+|[^A-Za-z\s]", r"\p{L}+|\p{N}")
DOCUMENTS = [
    "low lower lowest",
    "it's the newest's",
    "Größe 日本語 \u00a0\u3000 x\r\n\r\n  y",
    "123 4567!",
]
OVERLAPPING = ("<|end|>", "<|end|><|end|>", "<|e", "[x] (.*)", "<s p>", "€")


def train(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    pattern: str = "gpt2",
    tie_break: str = "lexicographic",
) -> Tokenizer:
    """Trains with the core alone."""
    counting = _core.CountingPass(pattern, special_tokens)
    counting.feed(texts)
    counts = counting.finish()
    merges = _core.train(counts, vocab_size, tie_break)
    return Tokenizer.from_vocabulary(
        Vocabulary.from_training(merges, special_tokens, counts.pat_str)
    )


@functools.cache
def small_vocabulary(pattern: str, special_tokens: tuple[str, ...]) -> Tokenizer:
    """A vocabulary of 700 tokens, among them long ones, trained once."""
    return train([generated_text(1), "a" * 200, "ab" * 300], 700, special_tokens, pattern)


def generated_text(seed: int = 0, words: int = 1500) -> str:
    """Text with repetition, several scripts, numbers, code, long runs."""
    rng = random.Random(seed)
    syllables = "the ing er low new est wid ka to ri ша му é ß 你好 世界 ก็ न म 👍 aa".split()  # noqa: SIM905
    lexicon = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(150)]
    lexicon += [
        "don't",
        "I'LL",
        "12345",
        "3.14",
        "x += 1;",
        "aaaaaaa",
        "====",
        "\t\t",
        "\n\n",
        "  ",
    ]
    return " ".join(rng.choices(lexicon, k=words))


PIECES = [
    *"aAbzſßéǅİ0१Ⅷ½²'’\"!_^=/.,;€你ก็श\u0301\u064b\u1100\u200d\u200b\ufeff\u180e",
    *" \t\n\r\u000b\u00a0\u0085\u2028\u3000",
    *"👍🏽🇺\x00\x1c\x7f\U0010ffff\ue000\U0001e900",
    *["  ", " \n ", "\r\n", "\n\n\n", "   x", "'s", "'LL", "'ſ", "'Re", " the", "low", "est"],
    *["aaaaaaaa", "abababab", "12345", "1234567", "don't", "你好世界", "👩‍👩‍👧", "--->", "*/\n"],
    *["<|end|>", "<|end|><|end|>", "<|end", "<|e", "[x] (.*)", "<s p>", "<|endoftext|>"],
]
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.text(max_size=60),
    st.text(alphabet="ab", max_size=60),
)


def tiktoken_encoding(name: str) -> Tokenizer:
    """A published encoding, if its file is in the cache; skips the test otherwise."""
    pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    if not CACHE.is_dir():
        pytest.skip(f"no tiktoken cache at {CACHE}; set BYTEMILL_TIKTOKEN_CACHE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
        return Tokenizer.from_tiktoken(name)


def corpus(name: str, n_chars: int | None) -> list[str]:
    """The documents of a shared corpus up to `n_chars`; skips the test if it is not there."""
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    path = CORPORA / f"{name}.txt.zst"
    if not path.is_file():
        pytest.skip(f"no {path}; set BYTEMILL_CORPORA")
    with path.open("rb") as file:
        data = (
            zstandard.ZstdDecompressor()
            .stream_reader(file)
            .read(-1 if n_chars is None else 4 * n_chars)
        )
    return data.decode(errors="ignore")[:n_chars].split("<|endoftext|>")
