"""`as_tiktoken` against `tiktoken.Encoding`: every method, default and error."""

import copy
import inspect
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

from bytemill import Tokenizer
from bytemill.tokenizer.tiktoken_surface import TiktokenSurface
from tests.support.against_tiktoken import PATTERNS, SPECIAL, pair
from tests.support.vocabularies import PIECES

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")

NAMES = [f"trained: {pattern}" for pattern in PATTERNS]
CHOICES = [
    {},
    {"allowed_special": "all"},
    {"disallowed_special": ()},
    {"allowed_special": {"<|end|>"}},
    {"allowed_special": {"<|end|>", "unknown"}, "disallowed_special": {"€"}},
    {"allowed_special": "all", "disallowed_special": {"€"}},
    {"disallowed_special": ["ab", "€"]},
]


def outcome(call, *args, **options):
    """What a call gives, or the kind of error."""
    try:
        result = call(*args, **options)
    except (ValueError, KeyError, OverflowError, TypeError) as error:
        return type(error)
    return result.tolist() if isinstance(result, np.ndarray) else result


def texts(name: str) -> list[str]:
    rng = random.Random(name)
    pieces = [*PIECES, *SPECIAL, *(text[:-1] for text in SPECIAL)]
    made = ["".join(rng.choices(pieces, k=rng.randint(0, 12))) for _ in range(40)]
    return ["", "\ud83d\udc4d", "a\ud83d", "a" * 3000, *made]


@pytest.mark.parametrize("name", NAMES)
def test_texts(name):
    tokenizer, theirs = pair(name)
    ours = tokenizer.as_tiktoken()
    assert isinstance(ours, tiktoken.Encoding)
    for text in texts(name):
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
        for choice in CHOICES:
            expected = outcome(theirs.encode, text, **choice)
            assert outcome(ours.encode, text, **choice) == expected, (text, choice)
            if text.isprintable():  # theirs takes no surrogates in an array
                assert outcome(ours.encode_to_numpy, text, **choice) == expected
    few = texts(name)[4:10]
    assert ours.encode_ordinary_batch(few) == theirs.encode_ordinary_batch(few)
    for choice in CHOICES:
        expected = outcome(theirs.encode_batch, few, num_threads=2, **choice)
        assert outcome(ours.encode_batch, few, num_threads=2, **choice) == expected


@pytest.mark.parametrize("name", NAMES)
def test_ids(name):
    tokenizer, theirs = pair(name)
    ours = tokenizer.as_tiktoken()
    rng = random.Random(name)
    batch = [[rng.randrange(theirs.n_vocab) for _ in range(rng.randint(0, 12))] for _ in range(60)]
    batch += [[0, 10**6], [-1], [2**32], [2**40, 1], [theirs.n_vocab - 1]]
    for ids in batch:
        for method in ("decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"):
            expected = outcome(getattr(theirs, method), ids)
            assert outcome(getattr(ours, method), ids) == expected, (method, ids)
        assert outcome(ours.decode, ids, "strict") == outcome(theirs.decode, ids, "strict")
        for id_ in ids[:2]:
            single = outcome(theirs.decode_single_token_bytes, id_)
            assert outcome(ours.decode_single_token_bytes, id_) == single
    good = batch[:60]
    assert ours.decode_batch(good, num_threads=1) == theirs.decode_batch(good)
    assert ours.decode_batch(good, errors="ignore") == theirs.decode_batch(good, errors="ignore")
    assert ours.decode_bytes_batch(good) == theirs.decode_bytes_batch(good)
    for token in ["a", b"\xff", "<|end|>", b"no such token", ""]:
        expected = outcome(theirs.encode_single_token, token)
        assert outcome(ours.encode_single_token, token) == expected


def test_bytes_that_are_not_text():
    tokenizer, theirs = pair("trained: cl100k")
    ours = tokenizer.as_tiktoken()
    rng = random.Random(0)
    pieces = [*(p.encode() for p in PIECES), b"\xff", b"\xe4\xbd", b"\x80", b"  \n", b"the"]
    for _ in range(150):
        data = b"".join(rng.choices(pieces, k=rng.randint(0, 5)))
        data = data[: rng.randint(0, len(data))]
        assert ours._encode_bytes(data) == theirs._encode_bytes(data), data
        if data:
            assert ours._encode_single_piece(data) == theirs._encode_single_piece(data), data


def test_what_there_is():
    tokenizer, theirs = pair("trained: o200k")
    ours = tokenizer.as_tiktoken()
    for name in (
        "n_vocab", "max_token_value", "eot_token", "special_tokens_set", "_pat_str",
        "_mergeable_ranks", "_special_tokens", "_special_token_values",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.token_byte_values() == theirs.token_byte_values()
    assert repr(ours) == f"<Encoding {tokenizer.name!r}>"
    assert [ours.is_special_token(i) for i in range(ours.n_vocab)] == [
        theirs.is_special_token(i) for i in range(ours.n_vocab)
    ]
    certain, found = theirs.encode_with_unstable("hello <|end|", disallowed_special=())
    assert ours.encode_with_unstable("hello <|end|") == (certain, sorted(found))
    # An encoding that is made of another's parts, as tiktoken's documentation has it.
    more = tiktoken.Encoding(
        "more",
        pat_str=ours._pat_str,
        mergeable_ranks=ours._mergeable_ranks,
        special_tokens={**ours._special_tokens, "<|more|>": ours.n_vocab},
    )
    assert more.encode("the<|more|>", allowed_special="all")[-1] == ours.n_vocab
    assert Tokenizer.from_tiktoken(ours) == tokenizer


def test_every_method_is_ours_with_the_same_arguments():
    """A method that a later tiktoken adds is seen here."""
    own = vars(TiktokenSurface)
    for name, member in vars(tiktoken.Encoding).items():
        if name in ("__init__", "__getstate__", "__setstate__") or not callable(member):
            continue
        assert name in own, f"tiktoken.Encoding.{name} is not in TiktokenSurface"
        theirs = inspect.signature(member).parameters
        assert list(inspect.signature(own[name]).parameters) == list(theirs), name


def test_pickled_and_copied():
    tokenizer, theirs = pair("trained: gpt2")
    ours = tokenizer.as_tiktoken()
    text = "the lowest<|end|> newest"
    expected = theirs.encode(text, allowed_special="all")
    for again in (pickle.loads(pickle.dumps(ours)), copy.copy(ours), copy.deepcopy(ours)):
        assert type(again) is type(ours)
        assert again.encode(text, allowed_special="all") == expected


def test_their_engine_is_made_only_when_it_is_asked_for():
    tokenizer, theirs = pair("trained: gpt2")
    ours = tokenizer.as_tiktoken()
    ours.decode(ours.encode("the lowest"))
    assert "_made_core" not in vars(ours)
    core = ours._core_bpe
    assert core.encode_ordinary("the lowest") == theirs.encode_ordinary("the lowest")
    assert ours._core_bpe is core


def test_without_tiktoken_the_methods_are_there():
    tokenizer, theirs = pair("trained: gpt2")
    data = pickle.dumps(tokenizer.as_tiktoken())
    code = (
        "import sys, pickle\n"
        "sys.modules['tiktoken'] = None\n"
        "encoding = pickle.load(sys.stdin.buffer)\n"
        "print(type(encoding).__name__, encoding.encode('the lowest'))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True, timeout=60
    )
    assert run.stdout.decode().strip() == f"TiktokenSurface {theirs.encode('the lowest')}"
