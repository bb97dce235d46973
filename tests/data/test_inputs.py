"""The same text gives the same counts and merges through every door."""

import gzip
import json
import os
import random
import subprocess
import sys
import threading

import pytest

from bytemill import BpeTrainer, train_bpe
from bytemill.data import expand_inputs, iter_documents
from tests.support import naive
from tests.support.input_forms import (
    DOCUMENTS,
    FORMS,
    SPECIAL,
    as_jsonl,
    as_parquet,
    as_text,
    outcome,
    zst,
)


@pytest.fixture(scope="module")
def expected():
    counts = naive.count(DOCUMENTS)
    trainer = BpeTrainer(special_tokens=[SPECIAL])
    trainer.feed(DOCUMENTS)
    assert dict(trainer.counts.items()) == counts
    return outcome(trainer)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_file(name, num_threads, tmp_path, expected):
    path = tmp_path / name
    path.write_bytes(FORMS[name]())
    trainer = BpeTrainer(special_tokens=[SPECIAL], num_threads=num_threads)
    trainer.feed_files(path)
    assert outcome(trainer) == expected
    assert list(iter_documents(path, special_tokens=[SPECIAL])) == [d for d in DOCUMENTS if d]


def test_train_bpe_gives_the_same(tmp_path, expected):
    (tmp_path / "a.txt").write_bytes(as_text(DOCUMENTS))
    assert train_bpe(str(tmp_path / "a.txt"), 600, [SPECIAL])[1] == expected[1]


@pytest.mark.parametrize(
    "texts",
    [
        lambda: DOCUMENTS,
        lambda: tuple(DOCUMENTS),
        lambda: iter(DOCUMENTS),
        lambda: (doc for doc in DOCUMENTS),
        lambda: dict(enumerate(DOCUMENTS)).values(),
        lambda: [SPECIAL.join(DOCUMENTS)],
        lambda: [SPECIAL.join(DOCUMENTS[:3]), "", SPECIAL, SPECIAL.join(DOCUMENTS[3:])],
    ],
    ids=["list", "tuple", "iterator", "generator", "view", "joined", "parts"],
)
def test_every_form_of_iterable(texts, expected):
    trainer = BpeTrainer(special_tokens=[SPECIAL])
    trainer.feed(texts())
    assert outcome(trainer) == expected


@pytest.fixture
def folder(tmp_path):
    """Each document once, in files of all forms and folders; and files that are not text."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    fifth = [DOCUMENTS[i::5] for i in range(5)]
    (root / "b.txt").write_bytes(as_text(fifth[0]))
    (root / "sub" / "a.txt.gz").write_bytes(gzip.compress(as_text(fifth[1])))
    (root / "sub" / "c.txt.zst").write_bytes(zst(as_text(fifth[2])))
    (root / "sub" / "deep" / "d.jsonl.zst").write_bytes(zst(as_jsonl(fifth[3])))
    (root / "a.parquet").write_bytes(as_parquet(fifth[4]))
    (root / "picture.png").write_bytes(b"\x89PNG\xff")
    (root / ".hidden.txt").write_text("hidden")
    (root / ".hidden" / "a.txt").write_text("hidden")
    return root


def test_a_folder(folder, expected):
    for paths in (
        folder,
        str(folder) + os.sep,
        [folder],
        [folder, folder / "b.txt", folder / "sub", str(folder / "sub" / ".." / "b.txt")],
        str(folder / "**" / "*.[jpt]*[lztr]*"),
        [str(folder / "*.txt"), folder / "a.parquet", str(folder / "s?b" / "**" / "*.*z*")],
        (path for path in [folder / "sub", folder / "b.txt", folder / "a.parquet"]),
    ):
        trainer = BpeTrainer(special_tokens=[SPECIAL])
        trainer.feed_files([p for p in expand_paths(paths) if p.suffix != ".png"])
        assert outcome(trainer) == expected


def expand_paths(paths):
    return [file.path for file in expand_inputs(paths)]


def test_files_are_sorted_and_taken_once(folder):
    names = ["a.parquet", "b.txt", "sub/a.txt.gz", "sub/c.txt.zst", "sub/deep/d.jsonl.zst"]
    in_order = [folder / name for name in names]
    assert expand_paths(folder) == in_order
    assert expand_paths([folder / "sub", folder, *reversed(in_order)]) == in_order
    (folder / "link.txt").symlink_to(folder / "b.txt")
    assert len(expand_inputs(folder)) == len(names)


def test_a_name_with_glob_characters_is_a_name_if_it_exists(tmp_path):
    (tmp_path / "a[1].txt").write_text("one")
    (tmp_path / "a1.txt").write_text("two")
    assert list(iter_documents(tmp_path / "a[1].txt")) == ["one"]
    assert list(iter_documents(tmp_path / "a?.txt")) == ["two"]


def test_documents_of_different_files_do_not_touch(tmp_path):
    (tmp_path / "1.txt").write_text("ab  ")
    (tmp_path / "2.txt").write_text("cd")
    (tmp_path / "3.txt.gz").write_bytes(gzip.compress(b"ef"))
    trainer = BpeTrainer()
    trainer.feed_files(tmp_path)
    assert dict(trainer.counts.items()) == {b"ab": 1, b"  ": 1, b"cd": 1, b"ef": 1}


def test_text_column(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "no", "body.en": "yes"}\n')
    (tmp_path / "b.parquet").write_bytes(as_parquet(["yes"], column="body.en"))
    trainer = BpeTrainer()
    trainer.feed_files(tmp_path, text_column="body.en")
    assert dict(trainer.counts.items()) == {b"yes": 2}


def test_line_ends_and_a_byte_order_mark_are_text(tmp_path):
    text = "\ufeffa\r\nb\rc"
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    assert list(iter_documents(path)) == [text]
    trainer = BpeTrainer()
    trainer.feed_files(path)
    assert dict(trainer.counts.items()) == naive.count([text])


def test_surrogates_in_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d\\udc4d \\ud83d"}\n')
    trainer = BpeTrainer()
    trainer.feed_files(path, errors="replace")
    assert dict(trainer.counts.items()) == naive.count(["👍 \ufffd"])
    assert list(iter_documents(path, errors="replace")) == ["👍 \ufffd"]
    with path.open("a") as file:
        file.write('{"text": "\\\\ud800 is no escape"}\n')
    remedy = r"a\.jsonl:1: the escape \\ud83d is a lone surrogate.*errors=.replace"
    for read in (trainer.feed_files, lambda path: list(iter_documents(path))):
        with pytest.raises(ValueError, match=remedy):
            read(path)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.parquet"])
def test_invalid_utf8_is_replaced_on_request(name, tmp_path):
    bad = b"good \xff \xe6\x97 \xf0\x9f\x91\x8d \xc3"
    text = bad.decode("utf-8", "replace")
    if name == "a.jsonl":
        bad = b'{"text": "' + bad + b'"}'
    elif name.endswith(".gz"):
        bad = gzip.compress(bad)
    elif name == "a.parquet":
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": pa.array([bad], pa.binary())}), tmp_path / name)
        bad = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(bad)
    trainer = BpeTrainer()
    trainer.feed_files(tmp_path / name, errors="replace")
    assert dict(trainer.counts.items()) == naive.count([text])
    assert list(iter_documents(tmp_path / name, errors="replace")) == [text]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(as_text(DOCUMENTS[:5])))
    writer.start()
    trainer = BpeTrainer(special_tokens=[SPECIAL])
    trainer.feed_files(path, progress=lambda done, total: None)
    writer.join()
    assert dict(trainer.counts.items()) == naive.count(DOCUMENTS[:5])


@pytest.mark.parametrize("cap", [1, 3, 10, 10_000_000])
def test_iter_documents_doc_cap(cap, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(as_text(DOCUMENTS))
    documents = iter_documents(path, special_tokens=[SPECIAL], doc_cap=cap)
    assert list(documents) == [document[:cap] for document in DOCUMENTS]


def test_special_tokens_in_iter_documents(tmp_path):
    tokens = ["<|a|>", "<|a|><|a|>", "<"]
    text = "one<|a|><|a|><|a|>two<three<|a|" * 50
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": text}) + "\n")
    expected = [part for part in naive.split_documents(text, tokens) if part]
    assert list(iter_documents(path, special_tokens=tokens)) == expected


def test_records_are_cut_as_text_is(tmp_path):
    """A record that has no special token is told by another way than its parts."""
    texts = ["", "a", "<|b|>", "x<|b|>y<|a|><|b|>zz", "<|a|", "ab<|a|>", "abcd", "<|ab|>" * 3]
    tokens = ["<|a|>", "<|b|>", "<|ab|>"]
    for cap in (None, 1, 2, 4, 5):
        for special in ([], tokens):
            found = []
            for i, text in enumerate(texts):
                plain, lines = tmp_path / f"{i}.txt", tmp_path / f"{i}.jsonl"
                plain.write_text(text)
                lines.write_text(json.dumps({"text": text}) + "\n")
                options = {"special_tokens": special, "doc_cap": cap}
                found.append([list(iter_documents([path], **options)) for path in (plain, lines)])
            assert all(one == other for one, other in found), (cap, special, found)


def test_progress_ends_at_the_whole(folder):
    seen = []
    trainer = BpeTrainer()
    trainer.feed_files(folder, progress=lambda done, total: seen.append((done, total)))
    total = sum(file.size for file in expand_inputs(folder))
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    assert all(t == total for _, t in seen)


def peak_megabytes(program, *args):
    pytest.importorskip("resource", reason="this system does not tell peak memory")
    program += "\nimport resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    command = [sys.executable, "-c", program, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / (1e6 if sys.platform == "darwin" else 1e3)


FEED = f"""
import sys
from bytemill import BpeTrainer
from bytemill.data import iter_documents
path, times = sys.argv[1], int(sys.argv[2])
trainer = BpeTrainer(special_tokens=[{SPECIAL!r}], num_threads=2)
trainer.feed(
    document
    for _ in range(times)
    for document in iter_documents(path, special_tokens=[{SPECIAL!r}])
)
"""


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.parquet"])
def test_memory_does_not_grow_with_the_text(name, tmp_path):
    rng = random.Random(8)
    words = ["".join(rng.choices("abcdefghijklmnop’é", k=rng.randint(2, 9))) for _ in range(20_000)]
    documents = [" ".join(rng.choices(words, k=rng.randint(10, 4000))) for _ in range(300)]
    make = {"txt": as_text, "jsonl": as_jsonl, "parquet": as_parquet}[name.split(".")[1]]
    data = make(documents)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    once, often = (peak_megabytes(FEED, path, times) for times in (1, 20))
    assert often <= 1.15 * once, (once, often)
