"""One tokenizer in threads, worker processes and pickles, and how its time grows with the text."""

import copy
import multiprocessing
import pickle
import threading
import time

import pytest

from bytemill.formats import folder
from tests.support.against_tiktoken import PATTERNS, TEXT, overlapping, trained

BYTES = {bytes([i]): i for i in range(256)}


# Threads, processes, pickles


def test_threads_share_a_tokenizer():
    tokenizer, expected, wrong = trained("cl100k"), trained("cl100k").encode(TEXT), []

    def work():
        for _ in range(20):
            if (
                tokenizer.encode(TEXT) != expected
                or tokenizer.encode_batch([TEXT] * 9)[8] != expected
            ):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _encode(job):
    tokenizer, batch = job
    return tokenizer.encode_batch(batch), list(tokenizer.encode_iterable(batch))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_worker_processes(method):
    tokenizer = trained("o200k")
    batch = [TEXT] * 12
    tokenizer.encode_batch(batch)  # so that a fork would find what it left
    expected = tokenizer.encode_batch(batch), tokenizer.encode("".join(batch))
    with multiprocessing.get_context(method).Pool(2) as pool:
        for found in pool.map(_encode, [(tokenizer, batch)] * 4, chunksize=1):
            assert found == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pickles_and_copies(pattern):
    tokenizer = trained(pattern)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(tokenizer, protocol))
        assert again == tokenizer and hash(again) == hash(tokenizer)
        assert again.encode(TEXT) == tokenizer.encode(TEXT)
        assert list(again.special_tokens.items()) == list(tokenizer.special_tokens.items())
    assert copy.copy(tokenizer) is tokenizer and copy.deepcopy([tokenizer])[0] is tokenizer
    assert tokenizer != overlapping(pattern) and tokenizer != "a str"


def test_state_that_was_changed_is_refused():
    state = folder.to_state(trained("gpt2").vocabulary)
    assert folder.from_state(state) == trained("gpt2").vocabulary
    changes = [
        {"version": 2},
        {"fingerprint": "0"},
        {"ranks": b"x"},
        {"ranks": state["ranks"][:-20]},
        {"special_tokens": {}},
        {"pattern": "("},
    ]
    for change in changes:
        with pytest.raises(ValueError):
            folder.from_state({**state, **change})
    for key in state:
        with pytest.raises(ValueError):
            folder.from_state({k: v for k, v in state.items() if k != key})
    with pytest.raises(ValueError):
        folder.from_state(None)


# Time


@pytest.mark.parametrize(
    "family",
    ["a", "A", "_", "^", " ", "\n", " \n", "你", "ab", "'l", "1", "é", "\u0301", "<|end|>", "<|e"],
)
def test_time_is_near_linear(family, capsys):
    tokenizer = trained("o200k")
    text = family * (100_000 // len(family))
    calls = {
        "encode": tokenizer.encode,
        "iterable": lambda t: sum(1 for _ in tokenizer.encode_iterable([t])),
        "truncate": lambda t: tokenizer.truncate(t, len(t) // 20),
        "offsets": tokenizer.encode_with_offsets,
    }
    for name, call in calls.items():
        ratios = []
        while not ratios or (min(ratios) >= 2.3 and len(ratios) < 10):
            half, whole = (best_time(call, t) for t in (text[: len(text) // 2], text))
            ratios.append(whole / half)
        with capsys.disabled():
            print(f"{name} {family!r}: t(2n)/t(n) = {min(ratios):.2f}")
        assert min(ratios) < 3 or whole < 0.05


def best_time(call, text):
    times = []
    for _ in range(3):
        started = time.process_time()
        call(text)
        times.append(time.process_time() - started)
    return min(times)
