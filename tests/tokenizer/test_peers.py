"""The same merges as rustbpe and tokenizers, and the same pretokens as Python's `regex`."""

import json
import os
import random
from collections import Counter

import pytest
import regex

from bytemill import BpeTrainer, _core
from bytemill.formats import byte_alphabet as stand_ins
from tests.support.vocabularies import NAMED, corpus

rustbpe = pytest.importorskip("rustbpe", reason="rustbpe is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

SLOW = bool(os.environ.get("BYTEMILL_SLOW_TESTS"))  # whole corpora: some minutes
CASES = int(os.environ.get("BYTEMILL_CASES", "20000"))
LANGUAGES = ("books", "code", "multi")

# Characters of every class that the patterns tell apart, all of them in Unicode for long.
CHARACTERS = (
    "aAbzZ019 \t\n\r\v'’/.,!-_=#\u00a0\u0085\u2028\u3000\u200b\ufeffªʰ½Ⅷ²１\u20dd\U0010ffff"
)
LETTERS = "é É ß ǅ İ ſ я Я א ع ह क्षि ไทย 中文 ァ 한국 \u0301 a\u0301 ١٢٣ 👍🏽 🇩🇪 👩‍👩‍👧 𝔘 𝔞"
CONTRACTIONS = "'s 'S 't 'll 'LL 've 'Re 'm 'D 'ſ don't"
ALPHABET = [*CHARACTERS, *LETTERS.split(), *CONTRACTIONS.split(), "  ", "\n\n", "\r\n", " \n"]


def pretokens(pattern: "regex.Pattern[str]", texts: list[str]) -> Counter[bytes]:
    return Counter(piece.encode() for text in texts for piece in pattern.findall(text))


def compiled(name: str) -> "regex.Pattern[str]":
    # `regex` counts the separators U+001C to U+001F, none of which is in our texts, as white space.
    return regex.compile(_core.pat_str(name), regex.VERSION0)


def counted(name: str, texts: list[str]) -> dict[bytes, int]:
    trainer = BpeTrainer(pattern=name)
    trainer.feed(texts)
    return dict(trainer.counts.items())


@pytest.mark.parametrize("name", NAMED)
def test_generated_strings_split_as_by_regex(name):
    choose = random.Random(336)
    pattern = compiled(name)
    for _ in range(max(CASES // 1000, 1)):
        texts = ["".join(choose.choices(ALPHABET, k=choose.randint(0, 12))) for _ in range(1000)]
        if counted(name, texts) != pretokens(pattern, texts):
            wrong = next(t for t in texts if counted(name, [t]) != pretokens(pattern, [t]))
            raise AssertionError(f"{wrong!r} is split in another way")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMED)
def test_corpora_split_as_by_regex(name, language):
    texts = corpus(language, None if SLOW else 1_000_000)
    pattern = compiled(name)
    for some in batched(texts, 50):
        assert counted(name, some) == pretokens(pattern, some)


def batched(texts: list[str], n: int) -> list[list[str]]:
    return [texts[i : i + n] for i in range(0, len(texts), n)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_merges_as_rustbpe(language):
    texts = corpus(language, None if SLOW else 3_000_000)
    trainer = BpeTrainer(tie_break="lowest_id")
    trainer.feed(texts)
    other = rustbpe.Tokenizer()
    other.train_from_iterator(iter(texts), vocab_size=8192, pattern=_core.pat_str("gpt2"))
    tokens = [bytes(token) for token, _ in other.get_mergeable_ranks()]
    ours = trainer.train(8192)
    assert list(ours.mergeable_ranks) == tokens
    assert [a + b for a, b in ours.merges] == tokens[256:]


@pytest.mark.parametrize("language", LANGUAGES)
def test_merges_as_tokenizers(language):
    texts = corpus(language, None if SLOW else 3_000_000)
    trainer = BpeTrainer(tie_break="huggingface")
    trainer.feed(texts)
    ours = trainer.train(8192)
    pre = tokenizers.pre_tokenizers
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    split = pre.Split(tokenizers.Regex(_core.pat_str("gpt2")), "isolated")
    byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    other.pre_tokenizer = pre.Sequence([split, byte_level])
    other.train_from_iterator(
        iter(texts),
        tokenizers.trainers.BpeTrainer(
            vocab_size=8192, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
        ),
    )
    merges = json.loads(other.to_str())["model"]["merges"]
    pairs = [tuple(stand_ins.from_text(part) for part in merge) for merge in merges]
    assert ours.merges == pairs
