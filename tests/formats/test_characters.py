"""BPE of characters with bytes to fall back on: ids, offsets and texts of `tokenizers`."""

import functools
import itertools
import json
import random

import pytest

from bytemill import Tokenizer
from bytemill.formats.tokenizer_json import characters
from tests.support import character_families as families
from tests.support.surfaces import (
    check_batches_and_pieces,
    check_copies,
    check_written,
    texts_of,
)

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

NAMES = sorted(families.FAMILIES)
MARK = families.MARK


@functools.cache
def theirs(name: str) -> "tokenizers.Tokenizer":
    return tokenizers.Tokenizer.from_str(families.document(name))


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    @functools.cache
    def of(name: str) -> Tokenizer:
        folder = tmp_path_factory.mktemp(name)
        (folder / "tokenizer.json").write_text(families.document(name), encoding="utf-8")
        return Tokenizer.from_pretrained(str(folder))

    return of


def texts(name: str, n: int = 150) -> list[str]:
    """Pieces of text with the family's added tokens, and what is near them, among them."""
    pieces = [
        "e\u0301", "é", "中", "中文", MARK, MARK * 3, f"{MARK}the", "<0x41>", "<0x0A>", "the end",
        " of", " ", "  ", " " * 5, "\n", "naïve", "(a)", "b.c", "12", " the", "th", "e",
    ]  # fmt: skip
    made = texts_of(name, families.FAMILIES[name], pieces, n)
    return ["  x", MARK, f" {MARK}", *made]


@pytest.mark.parametrize("name", NAMES)
def test_ids_offsets_and_texts(load, name):
    ours, other = load(name), theirs(name)
    for text in texts(name):
        encoding = other.encode(text, add_special_tokens=False)
        assert ours.encode(text) == encoding.ids, text
        assert ours.encode_with_offsets(text) == (encoding.ids, encoding.offsets), text
        with_special = other.encode(text).ids
        assert ours.encode(text, add_special_tokens=True) == with_special, text
        for ids in (encoding.ids, with_special):
            if name == "llama-2-normalized" and not {0, 1, 2}.isdisjoint(ids):
                continue  # there, these are decoded to their normalized text
            decoded = other.decode(ids, skip_special_tokens=False)
            assert ours.decode(ids) == ours.decode_with_offsets(ids)[0] == decoded
            decoder = ours.stream_decoder()
            assert "".join([*map(decoder.push, ids), decoder.finish()]) == decoded


@pytest.mark.parametrize("name", NAMES)
def test_every_id_decodes(load, name):
    """Those that no text has among them."""
    ours, other = load(name), theirs(name)
    assert ours.n_vocab == other.get_vocab_size()
    for id_ in range(ours.n_vocab):
        decoded = other.decode([id_], skip_special_tokens=False)
        assert ours.decode([id_]) == decoded, other.id_to_token(id_)
        assert ours.vocab[id_]


@pytest.mark.parametrize("name", NAMES)
def test_every_surface(load, name, tmp_path):
    ours, other = load(name), theirs(name)
    check_batches_and_pieces(ours, texts(name, 30))
    rng = random.Random(1)
    # More than the pieces that threads take, and no cache has seen it before.
    long = "".join(rng.choices(["word", " ", "中文é", "  ", "x.", "\n"], k=15_000))
    ids = other.encode(long, add_special_tokens=False).ids
    assert ours.encode(long) == ours.encode_batch([long])[0] == ids
    assert ours.count(long) == len(ids)
    head = ours.truncate(long, 100)
    assert long.startswith(head)
    assert ours.count(head) <= 100 < ours.count(long[: len(head) + 30])
    (tmp_path / "a.txt").write_text(long, encoding="utf-8", newline="")
    in_file, ends = ours.encode_files_to_numpy([tmp_path / "a.txt"])
    assert in_file.tolist() == ids
    assert ends.tolist() == [0, len(ids)]


@pytest.mark.parametrize("name", NAMES)
def test_written_again_and_saved(load, name, tmp_path):
    ours = load(name)
    written, read = check_written(ours, families.document(name), tmp_path)
    # Of two merges to one token only one ever applies.
    merges = [tuple(pair) for pair in written["merges"]]
    before = [tuple(pair) for pair in read["merges"]]
    applied = set(merges)
    assert merges == [pair for pair in before if pair in applied]
    if "converted" not in families.FAMILIES[name]:
        assert merges == before
    rest = {key: value for key, value in read.items() if key not in ("vocab", "merges")}
    assert rest.items() <= written.items()
    check_copies(ours, texts(name, 10), tmp_path)


@pytest.mark.parametrize("name", ["gemma", "mistral-7b-v3"])
def test_as_transformers(load, name, tmp_path):
    transformers = pytest.importorskip("transformers", "5", reason="transformers 5 is missing")
    (tmp_path / "tokenizer.json").write_text(families.document(name), encoding="utf-8")
    file = str(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=file)
    ours = load(name).as_transformers()
    assert ours.get_vocab() == theirs.get_vocab()
    for text in texts(name, 30):
        found = ours(text, return_offsets_mapping=True)
        expected = theirs(text, return_offsets_mapping=True)
        assert found.data == expected.data
        assert found.tokens() == expected.tokens()
        assert found.word_ids() == expected.word_ids()
        ids = found["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.parametrize("name", ["llama-2", "gemma", "spaces-are-characters"])
def test_long_runs(load, name):
    """What is one pretoken: no quadratic time here would end."""
    ours, other = load(name), theirs(name)
    rng = random.Random(2)
    letters = "".join(rng.choices("etaoinsh", k=20_000))
    for text in ("a" * 50_000, "中" * 20_000, " " * 50_000 + "x", letters, "é文" * 10_000):
        assert ours.encode(text) == other.encode(text, add_special_tokens=False).ids, text[:9]


def of(vocab: list[str], merges: list[tuple[str, str]], **parts) -> dict:
    """A file of these tokens behind those of the bytes."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    return {
        "added_tokens": [],
        "normalizer": families.REPLACE,
        "decoder": families.decoder(),
        **parts,
        "model": {
            "type": "BPE", "byte_fallback": True,
            "vocab": {text: i for i, text in enumerate([*bytes_, *vocab])},
            "merges": [list(pair) for pair in merges],
            **parts.get("model", {}),
        },
    }  # fmt: skip


def read(tmp_path, data: dict) -> Tokenizer:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", **data}), encoding="utf-8")
    return Tokenizer.from_huggingface(path)


def test_random_merges(tmp_path):
    """Merges in any order: some that never apply, several to one token, across spaces or not.

    Everything that three characters can be is compared, and longer texts of them, which
    are encoded from the left where the merges allow it.
    """
    n_cut = 0
    for seed in range(30):
        rng = random.Random(seed)
        alphabet = rng.sample(["a", "é", "中", MARK, "1", "."], k=4)
        vocab = [*dict.fromkeys([*alphabet, MARK])]
        merges: list[tuple[str, str]] = []
        for _ in range(rng.randint(1, 25)):
            pair = (rng.choice(vocab), rng.choice(vocab))
            across = seed % 2 and MARK in "".join(pair).lstrip(MARK)
            if pair not in merges and len("".join(pair)) < 6 and not across:
                merges.append(pair)
                vocab += [] if "".join(pair) in vocab else ["".join(pair)]
        if seed % 3 == 0:
            rng.shuffle(merges)
        data = of(vocab, merges)
        ours = read(tmp_path, data)
        other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        letters = [text.replace(MARK, " ") for text in (*alphabet, "b")]
        every = ("".join(t) for n in (1, 2, 3) for t in itertools.product(letters, repeat=n))
        longer = ["".join(rng.choices(letters, k=k)) for k in (9, 20, 30, 70, 300) for _ in (1, 2)]
        for text in (*every, *longer):
            expected = other.encode(text, add_special_tokens=False).ids
            assert ours.encode(text) == expected, (seed, text)
        n_cut += ours.pat_str != characters.WHOLE
    assert 5 < n_cut < 25


@pytest.mark.parametrize("kind", ["NFC", "NFKD", "Lowercase"])
def test_a_space_before_the_first_piece_alone_behind_a_normalizer(tmp_path, kind):
    vocab = [MARK, "a", "e", f"{MARK}a", f"{MARK}e"]
    parts = {
        "normalizer": {"type": kind}, "pre_tokenizer": families.metaspace("first", False),
        "added_tokens": [{"id": 261, **families.token("<x>")}],
    }  # fmt: skip
    ours = read(tmp_path, of(vocab, [(MARK, "a"), (MARK, "e")], **parts))
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in map("".join, itertools.product(["a", "A", "e\u0301", " ", "<x>"], repeat=3)):
        assert ours.encode(text) == other.encode(text, add_special_tokens=False).ids, text


def test_what_is_cut():
    cut = characters.finest
    assert cut([b" a", b"ab", b"12", b" ."]) == (
        r" *[0-9]+| *[!-/:-@\[-`{-~]+| *[\n]+| *[^ 0-9!-/:-@\[-`{-~\n]+| +"
    )
    assert cut([b"a.", b"1."]) == r" *[^ \n]+| *[\n]+| +"
    assert cut(["é\n".encode()]) == r" *[0-9]+| *[!-/:-@\[-`{-~]+| *[^ 0-9!-/:-@\[-`{-~]+| +"
    assert cut([b"a b"]) == cut([b"a "]) == characters.WHOLE


REFUSED = {
    "no byte to fall back on": (lambda d: d["model"]["vocab"].pop("<0x41>"), "<0x41>"),
    "whole tokens": (lambda d: d["model"].update(ignore_merges=True), "ignore_merges"),
    "no fallback": (lambda d: d["model"].update(byte_fallback=False), "byte_fallback"),
    "no space": (
        lambda d: (d["model"]["vocab"].pop(MARK), d["model"]["merges"].clear()), "U\\+2581"
    ),
    "a byte merged": (lambda d: d["model"]["merges"].append(["<0x41>", "a"]), "a byte"),
    "no such token": (lambda d: d["model"]["merges"].append(["a", "z"]), "'z'"),
    "regex": (
        lambda d: d.update(pre_tokenizer={**families.SPLIT, "pattern": {"Regex": " "}}),
        "Split by a Regex",
    ),
    "white space": (lambda d: d.update(pre_tokenizer={"type": "WhitespaceSplit"}), "Whitespace"),
    "decoder": (lambda d: d.update(decoder=families.decoder(marked=False)), "decoder"),
    "first behind": (
        lambda d: d.update(
            pre_tokenizer=families.metaspace("first", True),
            normalizer={"type": "Strip", "strip_left": True, "strip_right": False},
        ),
        "first",
    ),
    "first behind what cuts": (
        lambda d: d.update(
            pre_tokenizer=families.metaspace("first", True),
            normalizer={
                "type": "Sequence",
                "normalizers": [
                    {"type": "Replace", "pattern": {"String": "b"}, "content": ""},
                    families.REPLACE,
                ],
            },
        ),
        "prepend_scheme first",
    ),
    "prepended token": (
        lambda d: d.update(
            pre_tokenizer=families.metaspace("never", False),
            normalizer={"type": "Prepend", "prepend": " "},
            added_tokens=[{"id": 261, **families.token("<x>", normalized=True)}],
        ),
        "the added token '<x>'",
    ),
    "inverted": (
        lambda d: d.update(pre_tokenizer={**families.SPLIT, "invert": True}),
        "Split by ' ' finds nothing",
    ),
    "half a surrogate pair": (
        lambda d: d["model"]["vocab"].update({"a\ud800": 300}), "half of a surrogate pair"
    ),
    "stripped behind": (
        lambda d: d.update(
            normalizer={
                "type": "Sequence",
                "normalizers": [
                    families.REPLACE,
                    {"type": "Strip", "strip_left": True, "strip_right": True},
                ],
            }
        ),
        "Strip",
    ),
    "late token": (
        lambda d: d.update(
            added_tokens=[{"id": 261, **families.token("<x>", normalized=True, rstrip=True)}]
        ),
        "<x>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused_by_name(tmp_path, what):
    change, named = REFUSED[what]
    data = of([MARK, "a", "b", "<0x41>a", f"{MARK}a"], [(MARK, "a")])
    read(tmp_path, data)
    change(data)
    with pytest.raises(ValueError, match=named):
        read(tmp_path, data)
