"""One trainer in several threads, and trainers and counts that are pickled and copied."""

import copy
import pickle
import sys
import threading
from collections.abc import Callable

import pytest

from bytemill import BpeTrainer, Counts
from tests.support import naive
from tests.support.vocabularies import generated_text

TEXTS = [[generated_text(i, 300)] * 2 for i in range(24)]


def in_threads(work: list[Callable[[], object]]) -> None:
    """Runs each in a thread of its own, all at once; raises what the first to fail raised."""
    failed: list[BaseException] = []
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        try:
            barrier.wait()
            one()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for error in failed:
        raise error


@pytest.mark.filterwarnings("ignore:the vocabulary has")
def test_all_that_threads_feed_is_counted(tmp_path):
    trainer, expected = BpeTrainer(num_threads=1), naive.count([t for ts in TEXTS for t in ts])
    path = tmp_path / "a.txt"
    path.write_text(TEXTS[0][0])
    other = BpeTrainer()
    other.feed(TEXTS[1])
    added = other.counts
    in_threads(
        [
            *(lambda texts=texts: trainer.feed(iter(texts)) for texts in TEXTS[2:]),
            *[lambda: trainer.feed_files([path])] * 2,
            lambda: trainer.add_counts(added),
            *[lambda: trainer.counts.items()] * 4,
            *[lambda: trainer.train(257)] * 4,
        ]
    )
    assert dict(trainer.counts.items()) == dict(expected)


def test_max_chars_holds_over_threads():
    trainer = BpeTrainer(max_chars=1000)
    in_threads([lambda n=n: trainer.feed(["x" * 7 + " "] * n) for n in range(20, 45)])
    assert trainer.counts.n_bytes == 1000


def test_a_feed_that_waits_for_another_thread_s_feed():
    trainer, fed = BpeTrainer(), threading.Event()

    def waiting():
        yield "one"
        assert fed.wait(300)
        yield "two"

    def feeding():
        trainer.feed(["three"])
        fed.set()

    in_threads([lambda: trainer.feed(waiting()), feeding])
    assert trainer.counts.total == 3


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_trainers_and_counts_are_copied(again):
    trainer = BpeTrainer(
        pattern=r"\w+|\s", special_tokens=["<e>", "é"], tie_break="lowest_id", max_chars=500
    )
    trainer.feed(["some words<e>some words é \ud83d"])
    counts = trainer.counts
    assert isinstance(again(counts), Counts)
    for of in ("pat_str", "special_tokens", "total", "n_bytes"):
        assert getattr(again(counts), of) == getattr(counts, of)
    assert again(counts).items() == counts.items()
    other = again(trainer)
    vocabulary = trainer.train(262).vocabulary
    assert other.train(262).vocabulary == vocabulary
    other.feed(["y" * 1000])
    assert other.counts.n_bytes > trainer.counts.n_bytes == counts.n_bytes
    trainer.feed(["y" * 1000])
    assert other.counts.items() == trainer.counts.items()
