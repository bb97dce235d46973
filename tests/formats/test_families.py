"""Published shapes of tokenizer.json: ids, offsets and texts of `tokenizers`, on every surface."""

import functools
import json
import sys
import warnings

import pytest

from bytemill import Tokenizer, _core
from bytemill.formats import huggingface
from tests.support import families
from tests.support.surfaces import (
    check_batches_and_pieces,
    check_copies,
    check_written,
    texts_of,
)

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

NAMES = sorted(families.FAMILIES)


@functools.cache
def theirs(name: str) -> "tokenizers.Tokenizer":
    return tokenizers.Tokenizer.from_str(families.document(name))


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    @functools.cache
    def of(name: str) -> Tokenizer:
        file = tmp_path_factory.mktemp(name) / "tokenizer.json"
        file.write_text(families.document(name), encoding="utf-8")
        return Tokenizer.from_huggingface(file)

    return of


def texts(name: str, n: int = 150) -> list[str]:
    """Pieces of text with the family's added tokens, and what is near them, among them."""
    pieces = [
        "e\u0301", "\u1100\u1161\u11a8", "\ufb01", "中文，汉字", "ò²³", "1234567", "x1", "(a|b)",
        "<|", " ", "  ", "\n",
    ]  # fmt: skip
    return texts_of(name, families.FAMILIES[name], pieces, n)


def untrimmed(name: str) -> "tokenizers.Tokenizer":
    """Theirs, with offsets that white space is not taken from."""
    data = json.loads(families.document(name))

    def keep(part):
        if part is None or part["type"] in ("ByteLevel", "RobertaProcessing"):
            return None
        if part["type"] == "Sequence":
            return {**part, "processors": [p for p in map(keep, part["processors"]) if p]}
        return part

    data["post_processor"] = keep(data["post_processor"])
    return tokenizers.Tokenizer.from_str(json.dumps(data))


@pytest.mark.parametrize("name", NAMES)
def test_ids_offsets_and_texts(load, name):
    ours, other, plain = load(name), theirs(name), untrimmed(name)
    for text in texts(name):
        encoding = plain.encode(text, add_special_tokens=False)
        assert ours.encode(text) == encoding.ids, text
        assert ours.encode_with_offsets(text) == (encoding.ids, encoding.offsets), text
        with_special = other.encode(text).ids
        assert ours.encode(text, add_special_tokens=True) == with_special, text
        decoded = other.decode(with_special, skip_special_tokens=False)
        assert ours.decode(with_special) == decoded


@pytest.mark.parametrize("name", ["deepseek-v3", "starcoder", "smollm", "command-r"])
def test_splits_of_kinds_of_characters_are_one_pattern(load, name):
    """They keep what several splits lose: cuts for streams and threads, and the fast way."""
    assert not load(name).pat_str.startswith('{"splits"')


@pytest.mark.parametrize(
    "name", ["llama-3", "llama-4", "qwen-2", "gpt-oss", "deepseek-v3", "starcoder", "smollm"]
)
def test_frequent_pipelines_have_scanners(load, name):
    """Their speed depends on it: a regex that says the same in other words is found by tables."""
    assert _core.has_scanner(load(name).pat_str)


@pytest.mark.parametrize("name", NAMES)
def test_every_surface(load, name, tmp_path):
    ours = load(name)
    special = theirs(name).get_added_tokens_decoder().items()
    assert {id_ for id_, token in special if token.special} == {
        id_ for id_ in range(ours.n_vocab) if ours.is_control_token(id_)
    }
    some = texts(name, 40)
    check_batches_and_pieces(ours, some)
    for text in some:
        # As in tokenizers, tokens that are not special are looked for in any case.
        ordinary = theirs(name)
        ordinary.encode_special_tokens = True
        try:
            expected_ordinary = ordinary.encode(text, add_special_tokens=False).ids
        finally:
            ordinary.encode_special_tokens = False
        assert ours.encode_ordinary(text) == ours.encode(text, allowed_special=())
        assert ours.encode_ordinary(text) == expected_ordinary, text
        # Whatever text becomes is text, and has its bytes.
        assert not any(map(ours.is_control_token, expected_ordinary))
        sizes = map(len, map(ours.decode_single_token_bytes, expected_ordinary))
        assert [ours.token_bytes()[id_] for id_ in expected_ordinary] == [*sizes]
    long = "".join(some) * 20
    assert (
        ours.encode(long)
        == ours.encode_batch([long])[0]
        == theirs(name).encode(long, add_special_tokens=False).ids
    )
    head = ours.truncate(long, 100)
    assert long.startswith(head)
    assert ours.count(head) <= 100
    # A document in a file is ordinary text.
    document = next(text for text in some if text.strip() and not separated(ours, text))
    (tmp_path / "a.txt").write_text(document, encoding="utf-8", newline="")
    ids, ends = ours.encode_files_to_numpy([tmp_path / "a.txt"])
    assert ids.tolist() == ours.encode_ordinary(document)
    assert ends.tolist() == [0, len(ids)]


def separated(tokenizer: Tokenizer, text: str) -> bool:
    """Whether a special token is in it, which would separate documents."""
    return any(token in text for token in tokenizer.special_tokens)


@pytest.mark.parametrize("name", NAMES)
def test_written_again_and_saved(load, name, tmp_path):
    ours = load(name)
    written, read = check_written(ours, families.document(name), tmp_path)
    assert written["merges"] == read["merges"]
    assert written.keys() == read.keys()
    check_copies(ours, texts(name, 20), tmp_path)


@pytest.fixture
def is_compared(tmp_path, monkeypatch):
    """Whether a file's texts are encoded by the other library before it is accepted."""
    compared = []
    monkeypatch.setattr(huggingface, "check", lambda vocabulary, _: compared.append(vocabulary))

    def of(text: str) -> bool:
        (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
        compared.clear()
        Tokenizer.from_huggingface(tmp_path)
        return bool(compared)

    return of


def test_published_shapes_are_settled_by_their_parts(is_compared):
    """But for those of a space to begin with and of a pattern that is not on the list."""
    found = {name for name in NAMES if is_compared(families.document(name))}
    assert found == {"bloom", "longformer"}


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("qwen-2", {"normalizer": {"type": "NFKC"}}),
        ("qwen-2", {"normalizer": {"type": "Sequence", "normalizers": [families.NFC] * 2}}),
        ("qwen-2", {"model": {"ignore_merges": True}}),
        ("qwen-2", {"model": {"byte_fallback": True}}),
        ("qwen-2", {"added": {"single_word": True}}),
        ("qwen-2", {"added": {"content": "e\u0301", "normalized": True}}),
        ("qwen-2", {"pre_tokenizer": families.one_split(families.ONE_DIGIT + "|x")}),
        ("falcon", {"pre_tokenizer": families.row(families.digits(False), families.byte_level())}),
        ("llama-3", {"pre_tokenizer": families.byte_level(add_prefix_space=True)}),
    ],
)
def test_what_is_not_settled_by_its_parts_is_compared(is_compared, family, change):
    data = json.loads(families.document(family))
    assert not is_compared(json.dumps(data))
    for part, to in change.items():
        if part in ("model", "added"):
            (data["model"] if part == "model" else data["added_tokens"][-1]).update(to)
        else:
            data[part] = to
    assert is_compared(json.dumps(data))


def test_ids_that_do_not_follow_the_merges_are_compared(is_compared):
    data = json.loads(families.document("qwen-2"))
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    made = ["".join(pair) for pair in merges[:2]]
    vocab[made[0]], vocab[made[1]] = vocab[made[1]], vocab[made[0]]
    assert is_compared(json.dumps(data))


def test_known_patterns_need_no_other_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text(families.document("llama-3"), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Tokenizer.from_huggingface(tmp_path)
