"""Ctrl-C during long batches and long texts."""

import gc
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.against_tiktoken import TEXT, trained

TASKS = Path("/proc/self/task")
WORDS = random.Random(0).choices("abcdefghij" * 5 + " ", k=50_000)
LINE = "".join(WORDS) + "\n"
MANY = [LINE[:20_000]] * 200_000  # 4 GB, for which there is one object


@pytest.fixture(scope="module")
def large():
    """What takes some seconds, and memory that other tests do without: a text of 150 MB, and 20
    million texts."""
    return LINE * 3000, [LINE[i : i + 20] for i in range(10_000)] * 2000


@pytest.fixture
def interrupt():
    """Sends SIGINT after a while; gives this process's processor time when that was.

    To be called where the signal may come at once: a busy machine may stop a thread at any place.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent, timers = [], []

    def fire():
        sent.append(time.process_time())
        signal.raise_signal(signal.SIGINT)

    def after(seconds):
        timer = threading.Timer(seconds, fire)
        timers.append(timer)
        timer.start()

    after.sent = sent
    yield after
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGINT, before)


def threads():
    """How many threads this process has, where that can be asked."""
    return len(list(TASKS.iterdir())) if TASKS.is_dir() else 0


CALLS = {
    "encode_batch": lambda t, long, short: t.encode_batch(MANY, 3),
    "encode_batch, one thread": lambda t, long, short: t.encode_batch(MANY, 1),
    "encode_batch, short texts": lambda t, long, short: t.encode_batch(short, 2),
    "encode_batch, long texts": lambda t, long, short: t.encode_batch([long] * 3, 2),
    "encode_batch, one thread, long texts": lambda t, long, short: t.encode_batch([long] * 3, 1),
    "encode_ordinary_batch": lambda t, long, short: t.encode_ordinary_batch(MANY, 2),
    "encode_batch_to_numpy": lambda t, long, short: t.encode_batch_to_numpy(MANY, 2),
    "count_batch": lambda t, long, short: t.count_batch(MANY, 2),
    "encode": lambda t, long, short: t.encode(long),
    "encode_ordinary": lambda t, long, short: t.encode_ordinary(long),
    "encode_to_numpy": lambda t, long, short: t.encode_to_numpy(long),
    "count": lambda t, long, short: t.count(long),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_ctrl_c(call, seconds, interrupt, large):
    if call.startswith("encode_batch_to_numpy"):
        pytest.importorskip("numpy", reason="numpy is not installed")
    tokenizer = trained("cl100k")
    tokenizer.encode(TEXT)
    n_threads = threads()
    with pytest.raises(KeyboardInterrupt):
        interrupt(seconds)
        CALLS[call](tokenizer, *large)
        pytest.fail("it was done before")
    # About 0.1 s of each of three threads; each call takes many seconds.
    late = time.process_time() - interrupt.sent[0]
    print(f"{late:.3f} s")
    assert late < 10
    # The system may show a thread a little longer than it lives.
    until = time.monotonic() + 60
    while threads() > n_threads and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() <= n_threads
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.encode_batch([TEXT] * 9, 2)[8] == tokenizer.encode(TEXT)


def test_ctrl_c_in_a_handler_that_raises_something_else(interrupt):
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    tokenizer = trained("gpt2")
    signal.signal(signal.SIGINT, stop)
    with pytest.raises(Stop):
        interrupt(0.1)
        tokenizer.count_batch(MANY, 2)


def test_a_handler_that_raises_nothing(interrupt):
    calls = []
    tokenizer = trained("gpt2")
    signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    interrupt(0.05)
    counts = tokenizer.count_batch(MANY[:3000], 2)
    while not calls:
        time.sleep(0.01)
    assert counts == [tokenizer.count(MANY[0])] * 3000


def test_a_call_in_another_thread_goes_on(interrupt):
    tokenizer = trained("gpt2")
    found = []
    work = threading.Thread(target=lambda: found.append(tokenizer.count_batch(MANY[:3000], 2)))
    work.start()
    with pytest.raises(KeyboardInterrupt):
        interrupt(0.05)
        while True:
            time.sleep(0.01)
    work.join()
    assert found == [[tokenizer.count(MANY[0])] * 3000]


def test_long_texts_have_the_same_ids():
    line = "".join(random.Random(1).choices(["a word ", TEXT, "\n", "<|end|>", "你好"], k=2000))
    for pattern in ("gpt2", "o200k", r"\p{L}+|\p{N}"):
        tokenizer = trained(pattern)
        parts = tokenizer.encode_iterable(line[i : i + 999] for i in range(0, len(line), 999))
        expected = list(parts)
        assert tokenizer.encode(line) == expected
        assert tokenizer.count(line) == len(expected)
        assert tokenizer.encode_batch([line], 1) == tokenizer.encode_batch([line], 3) == [expected]
        plain = list(tokenizer.encode_iterable([line], allowed_special=()))
        assert tokenizer.encode_ordinary(line) == plain


def test_a_handler_sees_no_list_that_is_not_full():
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    if not hasattr(signal, "setitimer"):
        pytest.skip("the system has no timers for signals")
    tokenizer = trained("cl100k")
    text = LINE * 200
    expected = tokenizer.encode_to_numpy(text)
    assert len(expected) > 2 * 2**21  # made in parts
    calls = []

    def look(number, frame):
        # Reading an empty place would crash. What was there before is not looked at.
        long = [x for x in gc.get_objects() if type(x) is list and len(x) > 2**20]
        calls.append([x.count(None) for x in long])
        signal.setitimer(signal.ITIMER_REAL, 1e-3)

    before = signal.signal(signal.SIGALRM, look)
    gc.freeze()
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    try:
        ids = tokenizer.encode(text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.unfreeze()
    assert calls
    assert gc.is_tracked(ids)
    assert np.array_equal(ids, expected)
    ids.append(ids)  # garbage in a circle, which only the collector frees
