"""`Tokenizer(vocab, merges, special_tokens)`, as CS336's assignment has it, against naive code."""

import random
import re
from collections.abc import Sequence

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill import Tokenizer, train_bpe
from tests.support.naive import GPT2
from tests.support.vocabularies import (
    OVERLAPPING,
    PIECES,
    generated_text,
    texts,
    tiktoken_encoding,
    train,
)

BYTES = {i: bytes([i]) for i in range(256)}
END = "<|end|>"


class Naive:
    """The assignment's words as code: merges are applied to each pretoken one after another."""

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[tuple[bytes, bytes]],
        special_tokens: Sequence[str] = (),
        pattern: str = GPT2,
    ) -> None:
        self.ids = {token: id_ for id_, token in vocab.items()}
        self.merges, self.pattern = merges, pattern
        self.special = sorted(special_tokens, key=len, reverse=True)

    def encode(self, text: str) -> list[int]:
        if not self.special:
            return self._ordinary(text)
        ids = []
        for part in re.split("(" + "|".join(map(re.escape, self.special)) + ")", text):
            ids += [self.ids[part.encode()]] if part in self.special else self._ordinary(part)
        return ids

    def _ordinary(self, text: str) -> list[int]:
        return [i for word in regex.findall(self.pattern, text) for i in self._word(word.encode())]

    def _word(self, word: bytes) -> list[int]:
        parts = [bytes([byte]) for byte in word]
        for pair in self.merges:
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == pair:
                    parts[at : at + 2] = [pair[0] + pair[1]]
                at += 1
        return [self.ids[part] for part in parts]


def small(special_tokens: Sequence[str] = ()) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    tokenizer = train([generated_text()], 450, special_tokens)
    return tokenizer.vocab, tokenizer.merges


@settings(max_examples=150, deadline=None)
@given(texts)
def test_encodes_as_the_merges_in_their_order(text):
    vocab, merges = small(OVERLAPPING)
    tokenizer = Tokenizer(vocab, merges, list(OVERLAPPING))
    ids = tokenizer.encode(text)
    assert ids == Naive(vocab, merges, OVERLAPPING).encode(text)
    assert tokenizer.decode(ids) == text


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_merges_and_any_ids_in_their_order(data):
    """Merges that no training gives, ids with holes, bytes in any order."""
    tokens = [b"a", b"b", b"c"]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(data.draw(st.integers(0, 12))):
        pair = (data.draw(st.sampled_from(tokens)), data.draw(st.sampled_from(tokens)))
        if b"".join(pair) not in tokens:
            merges.append(pair)
            tokens.append(b"".join(pair))
    rng = random.Random(data.draw(st.integers(0, 99)))
    ids = sorted(rng.sample(range(1000), 256 + len(merges)))
    singles = rng.sample(list(BYTES.values()), 256)
    vocab = dict(zip(ids, [*singles, *(a + b for a, b in merges)], strict=True))
    naive = Naive(vocab, merges, pattern=r"[abc]+")
    try:
        tokenizer = Tokenizer(vocab, merges, [], pattern=r"[abc]+")
    except ValueError as error:
        # Refused only where the merges in their order never make the token.
        message = str(error)
        assert "is not among the results of the merges" in message or "no merge makes" in message
        refused = next(t for t in tokens if f": {t!r} (id " in message)
        assert len(naive.encode(refused.decode())) > 1
        return
    for text in data.draw(st.lists(st.text("abc", max_size=30), max_size=10)):
        assert tokenizer.encode(text) == naive.encode(text)


def test_takes_what_train_bpe_gives(tmp_path):
    (tmp_path / "a.txt").write_text(generated_text() + END + generated_text(1), encoding="utf-8")
    vocab, merges = train_bpe(tmp_path / "a.txt", 400, [END])
    tokenizer = Tokenizer(vocab, merges, [END], name="mine")
    assert (tokenizer.vocab, tokenizer.merges) == (vocab, merges)
    assert tokenizer.special_tokens == {END: 399}
    assert tokenizer.name == "mine"
    assert tokenizer == Tokenizer.train(tmp_path / "a.txt", 400, [END])


def test_special_tokens_not_in_the_vocabulary_get_the_next_ids():
    vocab, merges = small()
    tokenizer = Tokenizer(vocab, merges, ["<b>", "<a>"])
    assert tokenizer.special_tokens == {"<b>": 450, "<a>": 451}
    assert tokenizer.encode("<a><b>") == [451, 450]
    # The highest id counts, not the number of tokens; one that is there keeps its own.
    vocab[900] = b"<c>"
    tokenizer = Tokenizer(vocab, merges, ("<b>", "<c>", "<a>"))
    assert tokenizer.special_tokens == {"<b>": 901, "<c>": 900, "<a>": 902}
    # Special tokens first, as many write them.
    shifted = {0: END.encode(), **{i + 1: token for i, token in small()[0].items()}}
    tokenizer = Tokenizer(shifted, merges, [END])
    text = "".join(PIECES) + END + generated_text(3)
    assert tokenizer.encode(text) == Naive(shifted, merges, [END]).encode(text)


def test_without_a_list_what_no_merge_makes_is_special():
    vocab, merges = small([END])
    assert Tokenizer(vocab, merges).special_tokens == {END: 449}
    with pytest.raises(ValueError, match=r"b'<\|end\|>' \(id 449\).*list it in special_tokens"):
        Tokenizer(vocab, merges, [])
    with pytest.raises(ValueError, match=r"b'\\xff\\xfe' \(id 500\).*not UTF-8"):
        Tokenizer({**vocab, 500: b"\xff\xfe"}, merges)


def test_gpt2():
    gpt2 = tiktoken_encoding("gpt2")
    doubled = ["<|endoftext|>", "<|endoftext|><|endoftext|>"]
    tokenizer = Tokenizer(gpt2.vocab, gpt2.merges, doubled)
    text = generated_text(6) + "<|endoftext|>"
    assert tokenizer.encode(text) == gpt2.encode(text)
    assert tokenizer.encode("<|endoftext|>" * 3) == [50257, 50256]
    assert Tokenizer(gpt2.vocab, gpt2.merges) == gpt2


GOOD = [(b"a", b"b"), (b"ab", b"c"), (b" ", b"d")]
TOKENS = {256: b"ab", 257: b"abc", 258: b" d"}


@pytest.mark.parametrize(
    ("changes", "merges", "special", "error", "message"),
    [
        ({257: None}, GOOD, None, ValueError, r"b'ab' \+ b'c' needs the token b'abc'"),
        ({}, [*GOOD, (b"x", b"yz")], None, ValueError, r"b'x' \+ b'yz' needs the token b'yz'"),
        ({}, [*GOOD, (b"x", b"y")], None, ValueError, r"b'x' \+ b'y' needs the token b'xy'"),
        ({}, [GOOD[0], (b"a", b"bc")], None, ValueError, r"b'a' \+ b'bc' needs the token b'bc'"),
        ({}, [GOOD[1], GOOD[0], GOOD[2]], None, ValueError, r"b'a' \+ b'b' comes after b'ab'"),
        ({256: b" d", 258: b"ab"}, GOOD, None, ValueError, "ids do not follow"),
        ({}, GOOD[:1], [], ValueError, r"b'abc' \(id 257\) is not among the results"),
        ({}, GOOD, ["abc"], ValueError, r"b'ab' \+ b'c' needs the token b'abc'"),
        ({300: b"ab"}, GOOD, None, ValueError, "ids 256 and 300 have the same token b'ab'"),
        ({97: None}, GOOD, None, ValueError, "1 single bytes are missing, the first 0x61"),
        ({300: b""}, GOOD, None, ValueError, "b''"),
        ({300: "ab"}, GOOD, None, TypeError, "the token of id 300 is 'ab'.*from_ranks"),
        ({"300": b"ax"}, GOOD, None, TypeError, "b'ax' is '300'; expected an int"),
        ({-1: b"ax"}, GOOD, None, ValueError, "b'ax' is -1"),
        ({}, [("a", "b")], None, TypeError, r"merges: \('a', 'b'\) is not a pair of bytes"),
        ({}, [b"ab"], None, TypeError, "merges: b'ab'"),
        ({}, GOOD, "<s>", TypeError, r"special_tokens='<s>'.*\['<s>'\]"),
        ({}, GOOD, ["<s>", "<s>"], ValueError, r"special_tokens\[1\]='<s>'.*twice"),
        ({}, GOOD, [""], ValueError, r"special_tokens\[0\]=''.*empty"),
        ({}, GOOD, [3], TypeError, r"special_tokens\[0\]=3"),
    ],
)
def test_contradictions(changes, merges, special, error, message):
    assert Tokenizer({**BYTES, **TOKENS}, GOOD).encode("abc d") == [257, 258]
    vocab = {id_: t for id_, t in {**BYTES, **TOKENS, **changes}.items() if t is not None}
    with pytest.raises(error, match=message):
        Tokenizer(vocab, merges, special)


def test_ranks_where_tokens_by_id_belong():
    with pytest.raises(TypeError, match=r"Tokenizer\.from_ranks"):
        Tokenizer({token: id_ for id_, token in BYTES.items()}, [])


def test_further_merges_that_never_apply():
    """Two ways to make one token: the second is never reached, here as in the naive encoder."""
    merges = [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc")]
    vocab = {**BYTES, 256: b"ab", 257: b"bc", 258: b"abc"}
    tokenizer, naive = Tokenizer(vocab, merges), Naive(vocab, merges)
    for text in ("abc", "bcabc", "aabcc", "abbc", "bc"):
        assert tokenizer.encode(text) == naive.encode(text)
