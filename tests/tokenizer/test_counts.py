"""`Counts`: saved, loaded and added, what they tell, and what is no file of them."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from bytemill import BpeTrainer, Counts, files
from tests.support import naive
from tests.support.vocabularies import DOCUMENTS

pytestmark = pytest.mark.filterwarnings("ignore:the vocabulary has")


def test_counts_are_saved_loaded_and_added(tmp_path):
    first, second, both = (BpeTrainer(special_tokens=["<|e|>"]) for _ in range(3))
    first.feed(DOCUMENTS[:2])
    second.feed(DOCUMENTS[2:])
    both.feed(DOCUMENTS)
    path = tmp_path / "saved.counts"
    first.counts.save(path)
    again = BpeTrainer(special_tokens=["<|e|>"])
    again.add_counts(Counts.load(path))
    assert again.counts.items() == first.counts.items()
    again.add_counts(second.counts)
    assert again.counts.items() == both.counts.items()
    assert again.train(280).fingerprint == both.train(280).fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["saved.counts"]
    # What was added from is as it was.
    assert second.counts.items() == trainer_fed(DOCUMENTS[2:]).counts.items()


def test_counts_know_what_was_held_out(tmp_path):
    path = tmp_path / "saved.counts"
    plain = trainer_fed(DOCUMENTS[:2]).counts
    assert plain.held_out == 0
    for share in (0.25, 0.1 + 0.2, 5e-324, 0.0):
        counts = plain.with_held_out(share)
        assert (counts.held_out, counts.items()) == (share, plain.items())
        counts.save(path)
        for again in (Counts.load(path), pickle.loads(pickle.dumps(counts))):
            assert (again.held_out, again.items()) == (share, plain.items())
    # Of two, what is in neither; one without text says nothing.
    sums = Counts.from_items("gpt2", ["<|e|>"], [])
    for share, expected in ((0.5, 0.5), (0.75, 0.5), (0.25, 0.25)):
        sums.merge(plain.with_held_out(share))
        assert sums.held_out == expected
    sums.merge(Counts.from_items("gpt2", ["<|e|>"], []))
    assert sums.held_out == 0.25
    for share in (-0.1, 1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="held_out"):
            plain.with_held_out(share)
        with pytest.raises(ValueError, match="held_out"):
            Counts.from_items("gpt2", [], [], share)


SAVE_AND_DIE = """
import resource, signal, sys
from bytemill import Counts
counts = Counts.from_items("gpt2", [], [(f"w{i}".encode(), 1) for i in range(200_000)])
# The system ends it in the middle of the file.
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
counts.save(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks are tested where there is flock")
def test_what_a_killed_process_left_of_counts_is_removed(tmp_path):
    path = tmp_path / "a.counts"
    ended = subprocess.run([sys.executable, "-c", SAVE_AND_DIE, str(path)], capture_output=True)
    assert ended.returncode == -signal.SIGXFSZ, ended.stderr
    (left,) = tmp_path.iterdir()
    counts = trainer_fed(DOCUMENTS).counts
    counts.save(path)
    assert left.exists(), "it may have been begun just now"
    os.utime(left, (1, 1))
    mine = tmp_path / ".a.counts.notes.tmp"
    other = tmp_path / ".b.counts.0123456789ab.tmp"
    held = tmp_path / ".a.counts.0123456789ab.tmp"
    for file in (mine, other, held):
        file.touch()
        os.utime(file, (1, 1))
    with held.open("ab") as writing:
        files.lock(writing.fileno())
        counts.save(path)
        assert held.exists() and not left.exists()
    counts.save(path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.counts", mine.name, other.name}
    assert Counts.load(path).items() == counts.items()


def test_threads_that_save_to_one_path(tmp_path):
    path = tmp_path / "a.counts"
    several = [trainer_fed([text * 2000]).counts for text in DOCUMENTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda i: several[i % 4].save(path), range(40)):
            pass
    assert Counts.load(path).items() in [counts.items() for counts in several]
    assert [file.name for file in tmp_path.iterdir()] == ["a.counts"]


def trainer_fed(texts):
    trainer = BpeTrainer(special_tokens=["<|e|>"])
    trainer.feed(texts)
    return trainer


def test_counts_tell_what_they_are():
    counts = trainer_fed(["a b b<|e|>"]).counts
    assert counts.items() == [(b" b", 2), (b"a", 1)]
    assert (len(counts), counts.total, counts.n_bytes) == (2, 3, 5)
    assert counts.special_tokens == ["<|e|>"]
    assert counts.pat_str == naive.GPT2


def test_a_trainer_s_counts_are_a_copy():
    trainer = BpeTrainer()
    empty = trainer.counts
    trainer.feed(["a b"])
    first = trainer.counts
    trainer.feed(["a"])
    assert [counts.items() for counts in (empty, first, trainer.counts)] == [
        [],
        [(b" b", 1), (b"a", 1)],
        [(b"a", 2), (b" b", 1)],
    ]
    first.merge(first_copy := trainer.counts)
    assert first.total == 5 and first_copy.total == trainer.counts.total == 3
    trainer.add_counts(trainer.counts)
    assert trainer.counts.items() == [(b"a", 4), (b" b", 2)]


@pytest.mark.parametrize("content", [b"", b"\0" * (1 << 20), b"x" * (1 << 20)])
def test_what_is_no_file_of_counts_is_told_by_its_first_byte(content, tmp_path):
    path = tmp_path / "counts"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="this is not a file of pretoken counts"):
        Counts.load(path)
