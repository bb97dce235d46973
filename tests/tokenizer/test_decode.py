import random
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill import Tokenizer
from tests.support.against_tiktoken import ALL, TEXT, cases, edge_cases, pair, trained

BYTES = {bytes([i]): i for i in range(256)}
NOT_IDS = (-1, -(2**40), 2**32 - 1, 2**32, 2**40, 2**64, 2**100)


def ids_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Sequences of valid ids, which need not be UTF-8 together."""
    known = sorted(tokenizer.vocab)
    few = known[:256] + known[-20:]
    return st.lists(st.one_of(st.sampled_from(known), st.sampled_from(few)), max_size=40)


def check_all_methods(tokenizer: Tokenizer, encoding, ids: list[int]) -> None:
    """Every method that decodes, against tiktoken."""
    data = encoding.decode_bytes(ids)
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode_tokens_bytes(ids) == encoding.decode_tokens_bytes(ids)
    for errors in ("replace", "ignore", "backslashreplace"):
        assert tokenizer.decode(ids, errors) == encoding.decode(ids, errors)
    assert tokenizer.decode_batch([ids, [], ids]) == encoding.decode_batch([ids, [], ids])
    try:
        expected = encoding.decode_with_offsets(ids)
    except UnicodeDecodeError:
        for call in (tokenizer.decode_with_offsets, lambda i: tokenizer.decode(i, "strict")):
            with pytest.raises(UnicodeDecodeError):
                call(ids)
    else:
        assert tokenizer.decode_with_offsets(ids) == expected
        assert tokenizer.decode(ids, errors="strict") == expected[0]


@pytest.mark.parametrize("name", ALL)
def test_every_method_on_generated_ids(name):
    tokenizer, encoding = pair(name)

    @settings(max_examples=cases(100), deadline=None, derandomize=True, database=None)
    @given(ids_of(tokenizer))
    def check(ids):
        check_all_methods(tokenizer, encoding, ids)

    check()


@pytest.mark.parametrize("name", ALL)
def test_every_method_on_the_ids_of_texts(name):
    tokenizer, encoding = pair(name)
    for text in [*edge_cases(), TEXT]:
        ids = encoding.encode(text, allowed_special="all")
        check_all_methods(tokenizer, encoding, ids)
        for cut in (1, len(ids) // 2):
            check_all_methods(tokenizer, encoding, ids[cut:])
            check_all_methods(tokenizer, encoding, ids[:cut])


@pytest.mark.parametrize("name", ALL)
def test_every_single_token(name):
    tokenizer, encoding = pair(name)
    known = sorted(tokenizer.vocab)
    assert tokenizer.decode_tokens_bytes(known) == [tokenizer.vocab[id_] for id_ in known]
    assert tokenizer.decode_bytes(known) == b"".join(tokenizer.vocab[id_] for id_ in known)
    rng = random.Random(0)
    for id_ in [*rng.sample(known, 100), *tokenizer.special_tokens.values()]:
        token = encoding.decode_single_token_bytes(id_)
        assert tokenizer.decode_single_token_bytes(id_) == token


# Ids of other kinds


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        iter,
        range,
        np.array,
        lambda ids: np.array(ids, np.uint8),
        lambda ids: np.array(ids, np.int16),
        lambda ids: np.array(ids, np.uint16),
        lambda ids: np.array(ids, np.int32),
        lambda ids: np.array(ids, np.uint32),
        lambda ids: np.array(ids, np.uint64),
        lambda ids: np.array(ids, ">u4"),
        lambda ids: np.array(ids, object),
        lambda ids: np.repeat(np.array(ids, np.uint16), 3)[::3],
        lambda ids: [np.uint16(i) for i in ids],
        lambda ids: memoryview(np.array(ids)),
        lambda ids: bytes(ids),
        lambda ids: types.SimpleNamespace(tolist=lambda: list(ids)),
    ],
)
def test_ids_in_lists_arrays_and_iterables(convert):
    tokenizer = trained("gpt2")
    ids = range(97, 110)

    def given_ids():
        return ids if convert is range else convert(ids)

    expected = bytes(ids)
    assert tokenizer.decode_bytes(given_ids()) == expected
    assert tokenizer.decode(given_ids()) == expected.decode()
    assert tokenizer.decode_tokens_bytes(given_ids()) == [bytes([i]) for i in ids]
    assert tokenizer.decode_batch(iter([given_ids(), given_ids()])) == [expected.decode()] * 2
    assert tokenizer.decode_with_offsets(given_ids()) == (expected.decode(), list(range(13)))
    assert tokenizer.stream_decoder().push(given_ids()) == expected.decode()


def test_empty_arrays():
    tokenizer = trained("gpt2")
    for empty in ([], (), np.array([], np.uint16), np.array([], np.int64)):
        assert tokenizer.decode(empty) == "" and tokenizer.decode_bytes(empty) == b""
        assert tokenizer.decode_tokens_bytes(empty) == []
        assert tokenizer.decode_with_offsets(empty) == ("", [])
    assert tokenizer.decode_batch([]) == []
    assert tokenizer.decode_batch(np.array([[97, 98], [99, 100]])) == ["ab", "cd"]


def test_torch_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tokenizer = trained("gpt2")
    assert tokenizer.decode(torch.tensor([97, 98])) == "ab"
    assert tokenizer.decode_batch(torch.tensor([[97, 98], [99, 100]])) == ["ab", "cd"]
    assert tokenizer.stream_decoder().push(torch.tensor([97])) == "a"


def calls(tokenizer: Tokenizer):
    yield tokenizer.decode
    yield tokenizer.decode_bytes
    yield tokenizer.decode_tokens_bytes
    yield tokenizer.decode_with_offsets
    yield lambda ids: tokenizer.decode_batch([[97], ids])
    yield lambda ids: tokenizer.stream_decoder().push(ids)


def test_ids_in_no_vocabulary():
    tokenizer = Tokenizer.from_ranks(
        {**BYTES, b"ab": 300}, {"<|end|>": 1_000_000, "<far>": 4_000_000_000}
    )
    assert tokenizer.decode([300, 1_000_000, 4_000_000_000, 97]) == "ab<|end|><far>a"
    for id_ in (256, 299, 301, 999_999, 1_000_001, 4_000_000_001, *NOT_IDS):
        for call in calls(tokenizer):
            with pytest.raises(KeyError) as error:
                call([97, id_, 98])
            assert error.value.args == (id_,)
        for call in (tokenizer.decode_single_token_bytes, tokenizer.stream_decoder().push):
            with pytest.raises(KeyError) as error:
                call(id_)
            assert error.value.args == (id_,)
    for array in (np.array([97, -1]), np.array([97, 2**40]), np.array([97, -1], np.int8)):
        for call in calls(tokenizer):
            with pytest.raises(KeyError, match=str(array[1])):
                call(array)
    with pytest.raises(KeyError, match=str(2**64 - 1)):
        tokenizer.decode(np.array([2**64 - 1], np.uint64))


def test_holes_of_a_published_vocabulary():
    tokenizer, encoding = pair("cl100k_base")
    for id_ in (100256, *range(100261, 100276), 100277):
        with pytest.raises(KeyError):
            encoding.decode([id_])
        with pytest.raises(KeyError, match=str(id_)):
            tokenizer.decode([id_])


@pytest.mark.parametrize(
    "bad",
    [None, 3, 1.5, "text", ["a"], [1.5], [None], [[97]], np.array([1.5]), np.array([[97]]),
     np.array(97), np.array(["a"]), {"tolist": 3}, object()],
)  # fmt: skip
def test_ids_of_other_types(bad):
    tokenizer = trained("gpt2")
    for call in calls(tokenizer):
        if bad == 3 and call([97]) == "a":
            continue  # a stream decoder takes single ids
        with pytest.raises(TypeError):
            call(bad)
    if not isinstance(bad, (int, np.ndarray)):
        with pytest.raises(TypeError):
            tokenizer.decode_single_token_bytes(bad)


@pytest.mark.parametrize(
    "bad", [{1, 2}, frozenset([3]), {1: 2}, np.array([True, False]), np.zeros(3, bool)], ids=repr
)
def test_what_has_no_order_of_ids(bad):
    tokenizer = trained("gpt2")
    for call in calls(tokenizer):
        with pytest.raises(TypeError, match="the ids are "):
            call(bad)
    # In a list they are ints, as everywhere in Python.
    assert tokenizer.decode_bytes([True, False]) == tokenizer.decode_bytes([1, 0])


def test_bad_error_handlers():
    tokenizer = trained("gpt2")
    for call in (tokenizer.decode, lambda ids, errors: tokenizer.decode_batch([ids], errors)):
        with pytest.raises(LookupError, match="no such"):
            call([0xFF], "no such")
        with pytest.raises(ValueError, match="null"):
            call([0xFF], "a\0b")
        with pytest.raises(TypeError):
            call([0xFF], 3)


def test_no_array_library_is_imported():
    import subprocess

    code = (
        "import sys, bytemill\n"
        "t = bytemill.Tokenizer.from_ranks({bytes([i]): i for i in range(256)})\n"
        "assert t.decode(t.encode('abc')) == 'abc'\n"
        "list(t.encode_iterable(['a'])); t.stream_decoder().push(97); t.encode_batch(['a'])\n"
        "print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Own(int):
    """An int of a class of its own."""

    def __index__(self):
        raise AssertionError("its value is at hand")


@pytest.mark.parametrize("share", [0, 0.003, 0.5, 1])
def test_ints_of_several_kinds_in_long_lists(share):
    tokenizer = Tokenizer.from_ranks(BYTES)
    rng = random.Random(1)
    for n in [*range(30, 35), *range(254, 259), *range(510, 515), 2000]:
        expected = bytes(rng.choices(range(256), k=n))
        kinds = (np.uint16, np.int64, Own)
        ids = [rng.choice(kinds)(i) if rng.random() < share else i for i in expected]
        assert tokenizer.decode_bytes(ids) == expected
        assert tokenizer.decode_bytes([bool(i > 127) for i in ids]) == bytes(
            i > 127 for i in expected
        )
        for bad in (-1, 256, 2**32 - 1, 2**32, 2**64 - 1, 2**64, np.int64(-1)):
            at = rng.randrange(n)
            with pytest.raises(KeyError, match=str(bad)):
                tokenizer.decode_bytes([*ids[:at], bad, *ids[at:]])
            with pytest.raises(TypeError):
                tokenizer.decode_bytes([*ids[:at], "a", *ids[at:]])


class Changes:
    """An int that changes the list it is in."""

    def __init__(self, change):
        self.change = change

    def __index__(self):
        self.change()
        return 97


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 65, 255, 256, 289, 300])
def test_a_list_that_changes_meanwhile(n):
    tokenizer = Tokenizer.from_ranks(BYTES)
    ids = [98] * n
    ids += [Changes(lambda: ids.__delitem__(slice(1, None))), *[99] * 300]
    assert tokenizer.decode_bytes(ids) == b"b" * n + b"a"
    longer = [98] * n
    longer += [Changes(lambda: longer.extend([100] * 300)), 99]
    assert tokenizer.decode_bytes(longer) == b"b" * n + b"ac" + b"d" * 300
    other = [98] * n
    other += [
        Changes(lambda: other.__setitem__(slice(n + 1, None), [2**30 + i for i in range(9)])),
        99,
    ]
    with pytest.raises(KeyError, match=str(2**30)):
        tokenizer.decode_bytes(other)


def test_threads_that_decode():
    tokenizer = Tokenizer.from_ranks(BYTES)
    texts = [chr(97 + i) * (1 + 997 * i) for i in range(8)]
    ids = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokenizer.decode, ids * 50)) == texts * 50


def test_ints_of_encoded_ids():
    tokenizer = Tokenizer.from_ranks(
        BYTES, {"<far>": 4_000_000_000, "<last>": 2**18 - 1, "<next>": 2**18}
    )
    text = "a<far>é<last><next>"
    ids = [97, 4_000_000_000, 0xC3, 0xA9, 2**18 - 1, 2**18]
    for n in (0, 1, 21, 22, 400):
        for _ in range(2):
            assert tokenizer.encode(n * text) == n * ids
            assert tokenizer.encode_batch([n * text, text]) == [n * ids, ids]
    kept = tokenizer.encode(text)
    counts = [sys.getrefcount(kept[4])]
    many = [tokenizer.encode(text) for _ in range(10)]
    counts.append(sys.getrefcount(kept[4]))
    del many
    counts.append(sys.getrefcount(kept[4]))
    assert counts == [counts[0], counts[0] + 10, counts[0]]
    del tokenizer
    assert kept == ids
