"""Merges in any order, several for one token, none for another: the ids of `tokenizers`."""

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from bytemill import Tokenizer
from bytemill.formats.byte_alphabet import to_text
from bytemill.formats.tokenizer_json import content, quick
from tests.support.families import byte_level, digits, row, token

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

BYTES = [to_text(bytes([byte])) for byte in range(256)]
FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]


def document(
    merges: list[list[str]],
    more: Sequence[str] = (),
    *,
    characters: bool = False,
    whole: bool = False,
) -> dict[str, Any]:
    """A file with these merges; the tokens `more` come before what merges make."""
    results = ["".join(pair) for pair in merges]
    model = {"type": "BPE", "ignore_merges": whole, "merges": merges}
    data = {"version": "1.0", "normalizer": None, "post_processor": None, "added_tokens": []}
    if characters:
        first = ["<unk>", *FALLBACK, *"abcdeé"]
        model |= {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
        parts = [{"type": "ByteFallback"}, {"type": "Fuse"}]
        data |= {"decoder": {"type": "Sequence", "decoders": parts}, "pre_tokenizer": None}
        data["added_tokens"] = [{"id": 0, **token("<unk>")}]
    else:
        first = BYTES
        data |= {"decoder": byte_level(), "pre_tokenizer": byte_level(use_regex=False)}
    vocab = {text: i for i, text in enumerate(dict.fromkeys([*first, *more, *results]))}
    return {**data, "model": {**model, "vocab": vocab}}


def compare(data: dict[str, Any], texts: list[str]) -> Tokenizer:
    """Compares ids of texts, as the file is read by Python, by the core, and written again."""
    library = tokenizers.Tokenizer.from_str(json.dumps(data))
    expected = [encoding.ids for encoding in library.encode_batch(texts)]
    ours = Tokenizer.from_vocabulary(content.vocabulary(data, "file"))
    written = content.document(ours.vocabulary)
    readings = [ours.vocabulary, content.vocabulary(written, "file")]
    readings += filter(None, [quick.vocabulary(json.dumps(data).encode(), "file")])
    for tokenizer in map(Tokenizer.from_vocabulary, readings):
        for text, ids in zip(texts, expected, strict=True):
            assert tokenizer.encode(text) == ids, text
    return ours


def words(letters: str, longest: int) -> list[str]:
    """All texts of these letters."""
    lengths = range(1, longest + 1)
    return ["".join(t) for n in lengths for t in itertools.product(letters, repeat=n)]


@pytest.mark.parametrize("characters", [False, True])
def test_a_merge_that_never_applies(characters):
    """ "ab" and "de" go first, so that nothing is left for "bc" and what is made of it."""
    merges = [list(pair) for pair in [("a", "b"), ("d", "e"), ("b", "c"), ("bc", "de")]]
    data = document([*merges, ["a", "bcde"]], characters=characters)
    ours = compare(data, [*words("abcde", 4), "abcde", "abcdeabcde", "bcde"])
    assert [ours.decode([id_]) for id_ in ours.encode("abcde")] == ["ab", "c", "de"]
    if not characters:
        data["model"]["ignore_merges"] = True
        ours = compare(data, ["abcde", "abcdeabcde", "bcde"])
        assert len(ours.encode("abcde")) == 1


def test_two_tokens_that_are_a_token_and_do_not_merge():
    """ "ab" goes before "bc", and then "ab" and "c" are no merge."""
    data = document([["a", "b"], ["b", "c"], ["a", "bc"]])
    assert len(compare(data, words("abc", 6)).encode("abc")) == 2


def test_an_added_token_that_is_a_pretoken_but_not_found():
    """It is looked for before the text is in lower case, and beside no digit."""
    data = document([["a", "b"]], ["abe"], whole=True)
    entry = token("abe", special=False, single_word=True)
    data["added_tokens"].append({"id": data["model"]["vocab"]["abe"], **entry})
    data["normalizer"] = {"type": "Lowercase"}
    texts = ["abe", "ABE", "abE", "abe1", "ABe ABe", "1ABE", " abe"]
    assert compare(data, texts).encode("ABE") == [data["model"]["vocab"]["abe"]]
    data["normalizer"] = None
    data["pre_tokenizer"] = row(digits(True), byte_level())
    assert len(compare(data, texts).encode("1abe2")) == 3


def test_random_merges():
    rng = random.Random(16)
    for _ in range(150):
        letters = rng.choice(["ab", "abc", "abé"])
        parts, merges = list(letters), []
        for _ in range(rng.randint(1, 9)):
            pair = [rng.choice(parts), rng.choice(parts)]
            if len("".join(pair)) < 7 and pair not in merges:
                merges.append(pair)
                parts += {"".join(pair)} - {*parts}
        if rng.random() < 0.5:
            rng.shuffle(merges)
        characters = rng.random() < 0.5
        if "é" in letters and not characters:
            merges = [[to_text(part.encode()) for part in pair] for pair in merges]
            merges.insert(rng.randint(0, len(merges)), [*to_text("é".encode())])
        more = ["".join(rng.choices("ab", k=rng.randint(2, 5))) for _ in range(rng.randint(0, 2))]
        whole = not characters and rng.random() < 0.3
        data = document(merges, more, characters=characters, whole=whole)
        texts = words(letters, 6 if len(letters) == 2 else 5)
        compare(data, [*texts, *("".join(rng.choices(letters, k=90)) for _ in range(5))])
