"""What tiktoken's Encoding has besides encode and decode, and Python's habits."""

import inspect
import random

import pytest

from bytemill import Tokenizer
from tests.support.against_tiktoken import PUBLISHED, SPECIAL, pair
from tests.support.vocabularies import NAMED, PIECES

NAMES = (*PUBLISHED, *(f"trained: {pattern}" for pattern in NAMED))
# Endings of text that may go on; a single blank takes long, as all tokens with one are tried.
ENDINGS = [
    *("hello fanta", "x", "", "a\n", "a\n\n", "a \n\t\n", "don'", "12", "1234", "caf\u00e9", "'"),
    *("\u4f60\u597d", "\U0001f44d", "a\u00a0", "a\u3000\u00a0", "x\x1c", "  \u2003", "a\r\n"),
    *("Hello wor", "=====", "\ud83d", "\ud83d\udc4d"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_encode_with_unstable(name):
    ours, theirs = pair(name)
    rng, few = random.Random(name), 3 if name in PUBLISHED else 60
    texts = ENDINGS + ["".join(rng.choices(PIECES, k=rng.randint(1, 6))) for _ in range(few)]
    if name not in PUBLISHED:
        texts += [*(f"a b{special}" for special in SPECIAL), " ", "a  ", "<|end|> x", "€ \n "]
    for text in texts:
        # Theirs takes no surrogates here.
        read = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        expected, completions = theirs.encode_with_unstable(read, allowed_special="all")
        certain, found = ours.encode_with_unstable(text)
        assert certain == expected, text
        assert found == sorted(completions), text
        assert read.encode().startswith(ours.decode_bytes(certain))
        expected, completions = theirs.encode_with_unstable(read, disallowed_special=())
        assert ours.encode_with_unstable(text, allowed_special=()) == (
            expected,
            sorted(completions),
        )


def test_encode_with_unstable_refuses():
    ours, theirs = pair("trained: gpt2")
    for tokenizer in (ours, theirs):
        with pytest.raises(ValueError, match=r"<\|end\|>"):
            tokenizer.encode_with_unstable(
                "a<|end|>", allowed_special=set(), disallowed_special="all"
            )
    with pytest.raises(TypeError):
        ours.encode_with_unstable(3)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_vocabulary_holds(name):
    ours, theirs = pair(name)
    assert ours.max_token_value == theirs.max_token_value
    assert ours.token_byte_values() == theirs.token_byte_values()
    assert ours.special_tokens_set == theirs.special_tokens_set
    for id_ in range(ours.n_vocab):
        assert ours.is_special_token(id_) == theirs.is_special_token(id_)
    if "<|endoftext|>" in theirs.special_tokens_set:
        assert ours.eot_token == theirs.eot_token
    with pytest.raises(KeyError):
        Tokenizer.from_ranks({bytes([i]): i for i in range(256)}).eot_token  # noqa: B018
    for wrong in ("<|endoftext|>", 1.0, None, True):
        with pytest.raises(TypeError):
            ours.is_special_token(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_decode_bytes_batch(name):
    ours, theirs = pair(name)
    batch = [[], [0, 1, 255], theirs.encode_ordinary("caf\u00e9 \u4f60\u597d")[:-1]]
    assert ours.decode_bytes_batch(batch) == theirs.decode_bytes_batch(batch)
    assert ours.decode_bytes_batch(iter(batch)) == ours.decode_bytes_batch(batch)
    for decode in (ours.decode_bytes_batch, theirs.decode_bytes_batch):
        with pytest.raises(KeyError):
            decode([[0], [2**31]])


@pytest.mark.parametrize("name", NAMES)
def test_length_size_and_membership(name):
    ours, theirs = pair(name)
    assert ours.vocab_size == ours.n_vocab == theirs.n_vocab
    assert len(ours) == len({*theirs._mergeable_ranks.values(), *theirs._special_tokens.values()})
    for id_ in [*range(-2, 300), *range(ours.n_vocab - 300, ours.n_vocab + 2)]:
        try:
            theirs.decode_single_token_bytes(id_)
        except (KeyError, OverflowError):
            assert id_ not in ours
        else:
            assert id_ in ours
    for token in [*ours.token_byte_values()[:3000], b"", b"no such token", b"\xff\xfe"]:
        try:
            theirs.encode_single_token(token)
        except KeyError:
            assert token not in ours
        else:
            assert token in ours
    for text in [*theirs.special_tokens_set, "the", " ", "no such token", "<|endoftext"]:
        try:
            theirs.encode_single_token(text)
        except KeyError:
            assert text not in ours
        else:
            assert text in ours and text.encode() in ours
    # Read as U+FFFD, as everywhere; theirs takes no surrogates here.
    assert ("\ud83d" in ours) == ("\ufffd" in ours)
    for wrong in (None, 1.5, [1], True):
        with pytest.raises(TypeError):
            wrong in ours  # noqa: B015


METHODS = [
    name
    for name, method in inspect.getmembers(Tokenizer, inspect.isfunction)
    if name.startswith(("encode", "decode", "count", "truncate", "stream", "is_special"))
    and name not in ("encode_files", "encode_files_to_numpy")  # shortcuts that say where to read
]


@pytest.mark.parametrize("name", METHODS)
def test_help_explains_the_arguments(name):
    method = getattr(Tokenizer, name)
    _, _, explained = inspect.getdoc(method).partition("Args:\n")
    for parameter in list(inspect.signature(method).parameters)[1:]:
        assert f"\n    {parameter}: " in "\n" + explained, parameter
