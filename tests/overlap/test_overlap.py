"""The check for overlap against sets of n-grams, on texts and shards of every form."""

import json
import random

import numpy as np
import pytest

from bytemill import Tokenizer
from bytemill.data import open_shards
from bytemill.overlap import Index, TestItem, find_overlap, grams, scan
from bytemill.overlap import index as index_module

SEPARATOR = "<|endoftext|>"
WORDS = ["the", "low", "lower", "new", "est", "wider", "12", "don't", "你好", "👍", "a", "b"]


def text(r, least, most):
    return " ".join(r.choices(WORDS, k=r.randint(least, most)))


@pytest.fixture(scope="module")
def tokenizer():
    r = random.Random(0)
    return Tokenizer.train([text(r, 5, 30) for _ in range(200)], 290, [SEPARATOR])


def make_up(seed, n_documents=60):
    """Items of which some are in documents, in whole or in part, at all places."""
    r = random.Random(seed)
    items, documents = [], []
    for number in range(25):
        texts = tuple(text(r, 0, 14) for _ in range(r.randint(1, 2)))
        items.append(TestItem(r.choice("xy"), number, texts))
    for _ in range(n_documents):
        pieces = [text(r, 1, 12) for _ in range(r.randint(1, 3))]
        while r.random() < 0.4:
            words = r.choice(r.choice(items).texts).split()
            low = r.randint(0, 2)
            pieces.insert(r.randint(0, len(pieces)), " ".join(words[low:]))
        documents.append(" ".join(pieces))
    return items, [d for d in documents if d]


def naive(items, documents, encode, n):
    """(places, found, times, first document) of each item, from sets and lists."""
    runs = [[tuple(e[i : i + n]) for i in range(len(e) - n + 1)] for e in map(encode, documents)]
    result = []
    for item in items:
        own = [tuple(e[i : i + n]) for e in map(encode, item.texts) for i in range(len(e) - n + 1)]
        everything = set(own)
        found = [run for run in own if any(run in there for there in runs)]
        times = sum(run in everything for there in runs for run in there)
        first = next((k for k, there in enumerate(runs) if everything & set(there)), None)
        result.append((len(own), len(found), times, first))
    return result


def figures(overlap):
    return [(i.n_grams, i.n_found, i.n_times, i.document) for i in overlap.items]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
def test_as_sets_of_n_grams(tokenizer, tmp_path, monkeypatch, n):
    # Little at a time: n-grams lie across all borders of chunks.
    monkeypatch.setattr(scan, "_CHUNK_CHARS", 300)
    monkeypatch.setattr(scan, "_CHUNK_IDS", 40)
    encode = tokenizer.encode_ordinary
    some = 0
    for seed in range(4):
        items, documents = make_up(seed)
        index = Index(items, encode, n)
        path = tmp_path / f"{seed}.txt"
        path.write_text(SEPARATOR.join(documents), encoding="utf-8")
        want = naive(items, documents, encode, n)
        some += sum(0 < found < places for places, found, *_ in want)
        for threads in (1, 3):
            found = find_overlap(index, tokenizer, path, num_threads=threads)
            assert figures(found) == want
            assert {i.file for i in found.items} <= {str(path), None}
        assert found.n_documents == len(documents)
        assert found.n_tokens == sum(map(len, map(encode, documents)))
        assert found.n_bytes == sum(len(d.encode()) for d in documents)
        assert [(i.task, i.item) for i in found.items] == [(i.task, i.number) for i in items]
        for at in ("start", "end"):
            out = tmp_path / f"{seed}-{at}"
            tokenizer.encode_files(
                path, out, separator=SEPARATOR, separator_at=at, shard_tokens=10**9
            )
            found = find_overlap(index, tokenizer, shards=[open_shards(out)])
            assert figures(found) == want
            assert found.n_documents == len(documents)
    assert some or n == 1


def test_files_of_every_form(tokenizer, tmp_path):
    items, documents = make_up(9)
    index = Index(items, tokenizer.encode_ordinary, 5)
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps({"body": d}) + "\n" for d in documents[:30]))
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = tmp_path / "b.parquet"
    parquet.write_table(pyarrow.table({"body": documents[30:]}), table)
    seen = []
    found = find_overlap(
        index, tokenizer, [lines, table], text_column="body",
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    want = naive(items, documents, tokenizer.encode_ordinary, 5)
    for item, (places, n_found, times, first) in zip(found.items, want, strict=True):
        assert (item.n_grams, item.n_found, item.n_times) == (places, n_found, times)
        if first is not None:
            file = (lines, table)[first >= 30]
            assert (item.file, item.document) == (str(file), first - 30 * (first >= 30))
    total = lines.stat().st_size + table.stat().st_size
    assert seen == sorted(seen) and {of for _, of in seen} == {total}
    assert seen[-1] == (total, total)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13])
def test_every_place_of_a_short_array(n):
    """Of ids so few that many runs repeat: also where a run lies at an end, or nearly fits."""
    r = random.Random(n)
    some = 0
    for _ in range(30):
        texts = [r.choices([0, 1], weights=[9, 1], k=r.randint(0, 2 * n)) for _ in range(8)]
        if max(map(len, texts)) < n:
            continue
        there = {tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)}
        pieces = iter(texts)
        items = [TestItem("t", i, ("x",)) for i in range(len(texts))]
        index = Index(items, lambda _, pieces=pieces: next(pieces), n)
        for size in (0, n - 1, n, n + 1, 2 * n, 5 * n):
            ids = r.choices([0, 1], weights=[9, 1], k=size)
            starts = sorted({0, *(r.randrange(size or 1) for _ in range(2))})
            want = [
                p for low, high in zip(starts, [*starts[1:], size], strict=True)
                for p in range(low, high - n + 1) if tuple(ids[p : p + n]) in there
            ]  # fmt: skip
            hits = index.find(np.array(ids, np.uint16), np.array(starts, np.int64))
            assert hits.places.tolist() == want
            some += 0 < len(want) < size - n + 1
    assert some > 10


def test_equal_hashes_are_not_enough(tokenizer, monkeypatch):
    """Ids that hash alike are told apart by themselves."""
    a, b, c = 300, 301, 302
    index = Index([TestItem("t", 0, ("x",))], lambda _: [a, a, b, a], 3)
    hashes = grams.hashes
    monkeypatch.setattr(
        index_module,
        "hashes",
        lambda ids, *rest, **step: hashes(np.where(ids == c, b, ids), *rest, **step),
    )
    ids = np.array([a, a, b, a, a, a, c, a], np.uint16)
    hits = index.find(ids, np.array([0]))
    assert hits.places.tolist() == [0, 1]
    # Where those of the items are alike, another base is taken, and in the end it is said.
    monkeypatch.setattr(
        index_module, "hashes", lambda ids, *rest, **step: hashes(ids * 0, *rest, **step)
    )
    with pytest.raises(ValueError, match="equal hashes"):
        Index([TestItem("t", 0, ("x",))], lambda _: [a, b, a, c], 3)


@pytest.mark.parametrize("n", [1, 2, 5, 13, 16, 31])
def test_hashes_are_the_sum_that_they_are_said_to_be(n):
    r = random.Random(n)
    ids = [r.randrange(200_000) for _ in range(40)]
    base, last = grams._BASE, grams._LAST
    want = [
        sum(x * base ** (n - 1 - i) for i, x in enumerate(ids[at : at + n])) * last % 2**64
        for at in range(len(ids) - n + 1)
    ]
    for step in (1, 2, 7):
        assert grams.hashes(np.array(ids, np.uint32), n, step=step).tolist() == want[::step]
    rows = np.array([ids, ids[::-1]], np.uint32)
    assert grams.hashes(rows, n).tolist() == [grams.hashes(row, n).tolist() for row in rows]
    assert grams.hashes(np.array(ids[: n - 1], np.uint32), n).tolist() == []


def test_a_long_document_is_searched_to_its_end(tokenizer, tmp_path):
    """A file without separators is one document."""
    item = TestItem("t", 0, ("the low new est wid 12 er the the low low low",))
    encode = tokenizer.encode_ordinary
    n_grams = len(encode(item.texts[0])) - 4
    index = Index([item], encode, 5)
    text = "a" * ((1 << 23) + 5) + f" {item.texts[0]} " + "b c " * 20
    (tmp_path / "long.txt").write_text(text)
    found = find_overlap(index, tokenizer, tmp_path / "long.txt")
    assert (found.n_documents, found.n_bytes) == (1, len(text))
    assert found.items[0].n_found >= n_grams - 2 > 0  # its first and last token may be others


def test_bad_input(tokenizer, tmp_path):
    encode = tokenizer.encode_ordinary
    with pytest.raises(ValueError, match="no test item to look for"):
        Index([], encode)
    with pytest.raises(ValueError, match="no test item has 13 tokens"):
        Index([TestItem("t", 0, ("the low", ""))], encode)
    with pytest.raises(ValueError, match="n=0"):
        Index([TestItem("t", 0, ("the low",))], encode, 0)
    index = Index([TestItem("t", 0, ("the low new est",))], encode, 2)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="the training data is empty"):
        find_overlap(index, tokenizer, tmp_path / "empty.txt")
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        find_overlap(index, tokenizer, tmp_path / "none.txt")
    (tmp_path / "a.txt").write_text("the low new est")
    other = Tokenizer.train(["another text"], 262, [SEPARATOR])
    other.encode_files(tmp_path / "a.txt", tmp_path / "shards", separator=SEPARATOR)
    with pytest.raises(ValueError, match="from another tokenizer"):
        find_overlap(index, tokenizer, shards=[open_shards(tmp_path / "shards")])
