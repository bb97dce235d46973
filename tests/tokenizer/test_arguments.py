"""Arguments of another type, or out of range: one error that names the argument and the value."""

import itertools
import math
import pickle

import pytest

import bytemill
from bytemill import BpeTrainer, Tokenizer
from bytemill.files import named
from tests.support.against_tiktoken import trained

TEXTS = ["the cat sat on the mat"] * 3
TOKENIZER = trained("gpt2")
VALUES = {
    "none": None,
    "int": 3,
    "huge": 2**70,
    "nan": math.nan,
    "bytes": b"ab",
    "str": "ab\udc80",
    "nested": [["a"]],
    "dict": {"a": 1},
    "object": type("Thing", (), {"__repr__": lambda self: "<thing>"})(),
}
NEITHER = ("none", "int", "huge", "nan", "object")  # what cannot be iterated over


def one(tokenizer, name):
    """A method of one text, by its name."""
    return lambda text: getattr(tokenizer, name)(text)


def option(name, of, *args):
    return lambda value: of(*args, **{name: value})


def trainer():
    some = BpeTrainer()
    some.feed(TEXTS)
    return some


NOT_A_TEXT = ("none", "int", "huge", "nan", "bytes", "nested", "dict", "object")
NOT_TEXTS = (*NEITHER, "bytes", "str")
SURFACES = [
    # what is called, the argument's name, the values that are refused with TypeError
    (lambda v: Tokenizer.train(v, 300), "input", (*NEITHER, "bytes")),
    (lambda v: Tokenizer.train(v, 300), "texts", ("dict",)),
    (lambda v: BpeTrainer().feed(v), "texts", (*NOT_TEXTS, "dict")),
    (lambda v: Tokenizer.train(TEXTS, 300, v), "special_tokens", (*NOT_TEXTS, "nested", "dict")),
    (option("special_tokens", BpeTrainer), "special_tokens", (*NOT_TEXTS, "nested", "dict")),
    (option("pattern", Tokenizer.train, TEXTS, 300), "pattern", NOT_A_TEXT),
    (option("text_column", BpeTrainer().feed_files, __file__), "text_column", NOT_A_TEXT),
    (option("progress", BpeTrainer().feed_files, __file__), "progress", NOT_A_TEXT[1:]),
    (option("progress", trainer().train, 260), "progress", NOT_A_TEXT[1:]),
    (option("progress", TOKENIZER.extended, TEXTS, 999), "progress", NOT_A_TEXT[1:]),
    (lambda v: BpeTrainer().add_counts(v), "counts", tuple(VALUES)),
    (lambda v: TOKENIZER.extended(v, 999), "input", (*NEITHER, "bytes")),
    (lambda v: TOKENIZER.pruned(v), "input", (*NEITHER, "bytes")),
    (lambda v: TOKENIZER.truncated(v), "vocab_size", ("none", "nan", "str", "nested", "object")),
    (lambda v: Tokenizer(v, []), "vocab", tuple(k for k in VALUES if k != "dict")),
    (lambda v: Tokenizer(TOKENIZER.vocab, v), "merges", (*NOT_TEXTS, "nested", "dict")),
    (lambda v: Tokenizer.from_ranks(v), "mergeable_ranks", tuple(k for k in VALUES if k != "dict")),
    (
        lambda v: Tokenizer.from_ranks(TOKENIZER.mergeable_ranks, v),
        "special_tokens",
        ("int", "huge", "nan", "bytes", "str", "nested", "object"),
    ),
    (option("name", Tokenizer.from_ranks, TOKENIZER.mergeable_ranks), "name", NOT_A_TEXT),
    (Tokenizer.from_vocabulary, "vocabulary", tuple(VALUES)),
    (Tokenizer.load, "dir", NOT_A_TEXT),
    (TOKENIZER.save, "dir", NOT_A_TEXT),
    (Tokenizer.from_huggingface, "path", NOT_A_TEXT),
    (TOKENIZER.to_huggingface, "path", NOT_A_TEXT),
    (Tokenizer.from_pretrained, "name_or_folder", NOT_A_TEXT),
    (option("revision", Tokenizer.from_pretrained, "a/b"), "revision", NOT_A_TEXT[1:]),
    (lambda v: Tokenizer.from_files(v, "merges.txt"), "vocab_filepath", NOT_A_TEXT),
    (lambda v: Tokenizer.from_files("vocab.json", v), "merges_filepath", NOT_A_TEXT),
    (Tokenizer.from_tiktoken, "source", NOT_A_TEXT),
    *((one(TOKENIZER, name), "text", NOT_A_TEXT) for name in (
        "encode", "encode_ordinary", "encode_to_numpy", "encode_with_offsets", "count",
        "encode_with_unstable",
    )),
    (lambda v: TOKENIZER.encode(v, allowed_special=()), "text", NOT_A_TEXT),
    (lambda v: TOKENIZER.truncate(v, 3), "text", NOT_A_TEXT),
    (TOKENIZER.encode_single_token, "text_or_bytes", ("none", "int", "nan", "nested", "object")),
    *((one(TOKENIZER, name), "texts", NOT_TEXTS) for name in (
        "encode_batch", "encode_ordinary_batch", "encode_batch_to_numpy", "count_batch",
    )),
    (TOKENIZER.encode_iterable, "iterable", (*NEITHER, "bytes")),
    *((option(name, TOKENIZER.encode, "a"), name, (*NOT_TEXTS, "nested")) for name in (
        "allowed_special", "disallowed_special",
    )),
    (TOKENIZER.decode_batch, "batch", (*NEITHER, "bytes", "str")),
    (TOKENIZER.decode_bytes_batch, "batch", (*NEITHER, "bytes", "str")),
    (lambda v: TOKENIZER.decode([255], v), "errors", NOT_A_TEXT),
    (lambda v: TOKENIZER.decode_batch([], v), "errors", NOT_A_TEXT),
    (TOKENIZER.stream_decoder, "errors", NOT_A_TEXT),
]  # fmt: skip


@pytest.mark.parametrize("call, name, refused", SURFACES)
def test_another_type_is_refused_by_the_names_of_argument_and_value(call, name, refused):
    for key in refused:
        value = VALUES[key]
        with pytest.raises(TypeError) as caught:
            call(value)
        message = str(caught.value)
        assert message.startswith(name), (key, message)
        shown = repr(value[0] if key == "nested" else value)
        # Of what holds something else in it, that is named.
        assert shown in message or (key == "dict" and "'a'" in message), (key, message)


def test_what_is_long_is_named_shortened():
    for call in (TOKENIZER.encode, TOKENIZER.decode_batch, TOKENIZER.is_special_token):
        with pytest.raises(TypeError) as caught:
            call(b"x" * 1_000_000)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("tokens", [{"<a>", "<b>"}, frozenset(["<a>", "<b>"]), {"<a>": 5}])
def test_special_tokens_without_an_order_of_ids(tokens):
    # A set's order is another in each process, and so the ids would be.
    for make in (
        lambda: Tokenizer.train(TEXTS, 300, tokens),
        lambda: BpeTrainer(special_tokens=tokens),
        lambda: Tokenizer(TOKENIZER.vocab, TOKENIZER.merges, tokens),
    ):
        with pytest.raises(TypeError, match=r"special_tokens=.*list of strings.*order"):
            make()


def test_the_size_is_looked_at_before_text_is_read():
    def texts():
        raise AssertionError("read")
        yield ""

    with pytest.raises(ValueError, match="vocab_size=12 is too small"):
        Tokenizer.train(texts(), 12)


@pytest.mark.parametrize("name", ["allowed_special", "disallowed_special"])
def test_choices_of_special_tokens(name):
    for choice in ([None], [b"x"], [["x"]], {1}):
        with pytest.raises(TypeError, match=rf"^{name}: .* is not a str; expected \"all\" or"):
            TOKENIZER.encode("a", **{name: choice})
    with pytest.raises(ValueError, match=rf"^{name}: '\\udc80' holds a surrogate"):
        TOKENIZER.encode("a", **{name: ["\udc80"]})
    for none in ((), [], set(), frozenset(), iter(())):
        assert TOKENIZER.encode("a", **{name: none}) == [97]


def test_an_item_of_a_batch_is_named_by_its_place():
    for options in ({}, {"disallowed_special": ["x"]}):
        with pytest.raises(TypeError, match=r"^texts\[1\] is of <class 'bytes'>; expected a str"):
            TOKENIZER.encode_batch(["a", b"b"], **options)


def test_paths():
    with pytest.raises(ValueError, match=r"dir='a\\x00b': a path cannot hold a null character"):
        Tokenizer.load("a\0b")
    with pytest.raises(ValueError, match=r"path='': the path is empty"):
        Tokenizer.from_huggingface("")
    with pytest.raises(ValueError, match=r"revision='../x': expected a branch"):
        Tokenizer.from_pretrained("a/b", revision="../x")
    assert str(named("path", "a/b")) in ("a/b", "a\\b")


class Once:
    """Ids that can be iterated over once, without being an iterator."""

    def __init__(self, ids):
        self.ids = iter(ids)

    def __iter__(self):
        ids, self.ids = self.ids, None
        return ids


METHODS = ["decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Once, iter, lambda ids: (i for i in ids), tuple])
def test_ids_are_read_once(method, kind):
    ids = TOKENIZER.encode("the cat, sät on 猫 the mat " * 40)
    decode = getattr(TOKENIZER, method)
    assert len(ids) > 600  # several groups
    assert decode(kind(ids)) == decode(ids)
    if method == "decode":
        assert TOKENIZER.decode_batch(Once([Once(ids), kind(ids)])) == [decode(ids)] * 2
        assert TOKENIZER.stream_decoder().push(kind(ids)) == decode(ids)


@pytest.mark.parametrize("method", METHODS)
def test_ids_without_an_end_end_where_one_is_not_an_id(method):
    decode = getattr(TOKENIZER, method)
    for bad in (999_999, -1, 2**40):
        with pytest.raises(KeyError) as caught:
            decode(itertools.chain([97] * 300, itertools.repeat(bad)))
        assert caught.value.args == (bad,)
    with pytest.raises(TypeError, match=r"^1\.5 of <class 'float'> is not an id"):
        decode(itertools.chain([97] * 300, [1.5], itertools.repeat(97)))


def test_what_was_refused_leaves_the_tokenizer_as_it_was():
    copy = pickle.loads(pickle.dumps(TOKENIZER))
    for bad in (None, b"x", 7):
        with pytest.raises(TypeError):
            copy.encode(bad)
    assert copy.encode("the cat") == TOKENIZER.encode("the cat")
    assert bytemill.Tokenizer.train(TEXTS, 260, []).n_vocab == 260
