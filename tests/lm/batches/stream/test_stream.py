"""Rows of text: one sequence, whatever the files, the ranks and the interruptions."""

import json
import random
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")
pytest.importorskip("zstandard")

from bytemill import Tokenizer
from bytemill.lm.batches.loaders import PackedLoader, WindowLoader
from bytemill.lm.batches.stream.documents import FileDocuments, ItemDocuments
from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.batches.stream.packing import BestFit
from bytemill.lm.batches.stream.rows import LoaderRows, StreamRows
from bytemill.lm.batches.tokens import Tokens
from tests.support.text_corpora import BOS, WORDS, texts, write_corpus, write_parquet

ROWS = 12


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([" ".join(WORDS)] * 3, 300, special_tokens=[BOS])


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    """Of the size that the small corpora here need to be interesting."""
    init = BestFit.__init__
    monkeypatch.setattr(BestFit, "__init__", lambda self, length: init(self, length, 7))


def stream(documents, tokenizer, length, packing="documents"):
    bos_id = tokenizer.special_tokens[BOS]
    return StreamRows(documents, tokenizer, length, bos_id=bos_id, packing=packing)


def open_ranks(folder, tokenizer, length, packing, world_size, state=None):
    """A loader for each rank; from a state that has been through JSON."""
    loaders = []
    for _ in range(world_size):
        rows = stream(FileDocuments(folder, separators=[BOS]), tokenizer, length, packing)
        loader = StreamLoader([rows], ROWS)
        if state is not None:
            loader.load_state_dict(json.loads(state))
        loaders.append(loader)
    return loaders


def global_batch(loaders):
    """The ranks' rows, side by side."""
    if len(loaders) == 1:
        return np.stack(loaders[0].next_batch())
    shares = [
        np.stack(loader.next_share(rank, len(loaders))) for rank, loader in enumerate(loaders)
    ]
    sizes = [share.shape[1] for share in shares]
    assert sum(sizes) == ROWS and max(sizes) - min(sizes) <= 1
    return np.concatenate(shares, axis=1)


def one_state(loaders):
    states = {json.dumps(loader.state_dict()) for loader in loaders}
    assert len(states) == 1, "ranks differ in where they are"
    return states.pop()


def close(loaders):
    for loader in loaders:
        loader.close()


def with_bos(tokenizer, documents):
    bos_id = tokenizer.special_tokens[BOS]
    return [[bos_id, *tokenizer.encode_ordinary(text)] for text in documents]


def naive_continued(documents, length, n_rows):
    """Rows token by token."""
    bos_id, rows, at, offset = documents[0][0], [], 0, 0
    for _ in range(n_rows):
        if offset > 1:
            row = [bos_id, documents[at % len(documents)][offset - 1]]
            target = [bos_id, -1]
        else:
            row, target, offset = [], [], 0
        while len(row) < length + 1:
            document = documents[at % len(documents)]
            row.append(document[offset])
            target.append(document[offset])
            offset += 1
            if offset == len(document):
                at, offset = at + 1, 0
        rows.append((row[:-1], target[1:]))
    return np.array(rows).transpose(1, 0, 2)


def naive_best_fit(documents, length, n_rows, size=7):
    """The rule, step by step, over a plain list."""
    rows, buffer, at, read = [], [], 0, 0
    for _ in range(n_rows):
        row = []
        while len(row) < length + 1:
            while len(buffer) < size:
                buffer.append(documents[at % len(documents)])
                at += 1
            left = length + 1 - len(row)
            fitting = [document for document in buffer if len(document) <= left]
            if fitting:
                longest = max(map(len, fitting))
                chosen = next(i for i, each in enumerate(buffer) if len(each) == longest)
            else:
                shortest = min(map(len, buffer))
                chosen = next(i for i, each in enumerate(buffer) if len(each) == shortest)
            document = buffer.pop(chosen)
            read += len(document)
            row += document[:left]
        rows.append((row[:-1], row[1:]))
    return np.array(rows).transpose(1, 0, 2), 1 - n_rows * (length + 1) / read


@pytest.mark.parametrize("packing", ["documents", "best-fit"])
@pytest.mark.parametrize("seed", range(12))
def test_any_split_any_ranks_killed_anywhere(tokenizer, tmp_path, seed, packing):
    rng = random.Random(seed)
    documents = texts(rng, rng.choice([3, 20, 60]))
    write_corpus(rng, tmp_path, documents)
    length = rng.choice([2, 5, 16, 40])
    encoded = with_bos(tokenizer, documents)
    # A little more than two epochs.
    n_batches = min(2 * sum(map(len, encoded)) // (length * ROWS) + 2, 60)
    got, state = [], None
    while len(got) < n_batches:
        loaders = open_ranks(
            tmp_path, tokenizer, length, packing, rng.choice([1, 2, 3, 4, 5]), state
        )
        for _ in range(rng.randint(1, n_batches)):
            got.append(global_batch(loaders))
        state = one_state(loaders)
        close(loaders)
    found = np.concatenate(got, axis=1)
    if packing == "best-fit":
        wanted, _ = naive_best_fit(encoded, length, found.shape[1])
        assert np.array_equal(found, wanted)
        return
    assert np.array_equal(found, naive_continued(encoded, length, found.shape[1]))
    # Nothing is lost and nothing comes twice: what counts as a target is the text, in order.
    bos_id = tokenizer.special_tokens[BOS]
    seen = []
    for x, y in zip(*found, strict=True):
        assert x[0] == bos_id
        if y[0] != -1 and not (seen and seen[-1] == bos_id):
            seen.append(bos_id)
        seen += [token for token in y.tolist() if token != -1]
    whole = [token for document in encoded for token in document]
    assert len(seen) > len(whole) or len(got) >= 60
    assert seen == (whole * (len(seen) // len(whole) + 1))[: len(seen)]


def test_the_share_that_best_fit_drops(tokenizer, tmp_path):
    documents = texts(random.Random(3), 200)
    write_parquet(tmp_path / "a.parquet", [documents])
    rows = stream(FileDocuments(tmp_path), tokenizer, 40, "best-fit")
    x, y = np.empty((2, 40), np.int64)
    for _ in range(100):
        rows.fill(x, y)
    _, dropped = naive_best_fit(with_bos(tokenizer, documents), 40, 100)
    assert rows.dropped == pytest.approx(dropped) and 0.02 < dropped < 0.9
    other = stream(FileDocuments(tmp_path), tokenizer, 40, "best-fit")
    other.load_state_dict(json.loads(json.dumps(rows.to_json(rows.snapshot()))))
    assert other.dropped == rows.dropped
    rows.close()


def test_more_files_at_the_end_change_nothing_before(tokenizer, tmp_path):
    documents = texts(random.Random(4), 40)
    write_parquet(tmp_path / "a.parquet", [documents[:10], documents[10:20]])
    wanted = naive_continued(with_bos(tokenizer, documents), 16, 1000)
    [loader] = open_ranks(tmp_path, tokenizer, 16, "documents", 1)
    first = global_batch([loader])
    state = one_state([loader])
    close([loader])
    write_parquet(tmp_path / "b.parquet", [documents[20:]])
    [loader] = open_ranks(tmp_path, tokenizer, 16, "documents", 1, state)
    found = np.concatenate([first, *(global_batch([loader]) for _ in range(9))], axis=1)
    assert np.array_equal(found, wanted[:, : found.shape[1]])
    close([loader])


def test_items_are_as_files(tokenizer, tmp_path):
    documents = texts(random.Random(5), 30)
    items = [{"text": text, "id": i} for i, text in enumerate([*documents[:9], "", *documents[9:]])]
    wanted = naive_continued(with_bos(tokenizer, documents), 8, 10 * ROWS)
    state, got = None, []
    for n in (1, 5, 4):
        loader = StreamLoader([stream(ItemDocuments(items), tokenizer, 8)], ROWS)
        if state:
            loader.load_state_dict(json.loads(json.dumps(state)))
        got += [global_batch([loader]) for _ in range(n)]
        state = loader.state_dict()
        loader.close()
    assert np.array_equal(np.concatenate(got, axis=1), wanted)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(tokenizer, tmp_path, threads):
    documents = texts(random.Random(6), 200)
    write_parquet(tmp_path / "a.parquet", [documents[i : i + 3] for i in range(0, 200, 3)])
    rows = StreamRows(
        FileDocuments(tmp_path),
        tokenizer,
        30,
        bos_id=tokenizer.special_tokens[BOS],
        threads=threads,
    )
    loader = StreamLoader([rows], ROWS)
    found = np.concatenate([global_batch([loader]) for _ in range(10)], axis=1)
    assert np.array_equal(found, naive_continued(with_bos(tokenizer, documents), 30, 10 * ROWS))
    loader.close()


# Mixtures


def mixture(tokenizer, folder, weights=(3, 1)):
    ids = np.tile(np.array([tokenizer.special_tokens[BOS], *range(60, 90)]), 20)
    packed = PackedLoader(Tokens.of(ids), 1, 10, bos_id=int(ids[0]), seed=4)
    sources = [stream(FileDocuments(folder), tokenizer, 10), LoaderRows(packed)]
    return StreamLoader(sources, ROWS, weights=weights, seed=9)


def test_a_mixture_on_any_ranks_and_resumed(tokenizer, tmp_path):
    documents = texts(random.Random(7), 50)
    write_parquet(tmp_path / "a.parquet", [documents])
    one = mixture(tokenizer, tmp_path)
    whole = [global_batch([one]) for _ in range(8)]
    two = [mixture(tokenizer, tmp_path) for _ in range(2)]
    found = [global_batch(two) for _ in range(3)]
    state = one_state(two)
    four = [mixture(tokenizer, tmp_path) for _ in range(4)]
    for loader in four:
        loader.load_state_dict(json.loads(state))
    found += [global_batch(four) for _ in range(5)]
    assert np.array_equal(np.stack(found), np.stack(whole))
    close([one, *two, *four])


def test_a_mixture_keeps_each_sources_order_and_the_shares(tokenizer, tmp_path):
    documents = texts(random.Random(8), 300)
    write_parquet(tmp_path / "a.parquet", [documents])
    loader = mixture(tokenizer, tmp_path)
    found = np.concatenate([global_batch([loader]) for _ in range(50)], axis=1)
    loader.close()
    alone = naive_continued(with_bos(tokenizer, documents), 10, 600)
    text, at = 0, 0
    for x in found[0]:
        if np.array_equal(x, alone[0, at]):
            text, at = text + 1, at + 1
    # Of 600 rows 450 are expected; the deviation is 10.6.
    assert abs(text - 450) < 40
    with pytest.raises(ValueError, match="weights="):
        mixture(tokenizer, tmp_path, weights=(1, 0))


# Refusals


@pytest.mark.parametrize(
    ("changes", "of_source", "words"),
    [
        ({"batch_size": 24}, {}, "batch_size=24"),
        ({"seed": 1}, {}, "seed=1"),
        ({"weights": [0.5, 0.5]}, {}, "weights"),
        ({"sources": []}, {}, "damaged"),
        ({"batch": -1}, {}, "damaged"),
        ({"more": 1}, {}, "more"),
        ({}, {"packing": "best-fit"}, "packing='best-fit'"),
        ({}, {"tokenizer": "0"}, "tokenizer='0'"),
        ({}, {"context_length": 9}, "context_length=9"),
        ({}, {"place": [0, 0, -1, 0]}, "damaged"),
        ({}, {"place": [0, 0]}, "damaged"),
        ({}, {"token": -1}, "damaged"),
        ({}, {"files": [["b.parquet", "0"]]}, "'b.parquet'"),
    ],
)
def test_a_state_of_something_else_is_refused(tokenizer, tmp_path, changes, of_source, words):
    write_parquet(tmp_path / "a.parquet", [texts(random.Random(1), 20)])
    [loader] = open_ranks(tmp_path, tokenizer, 8, "documents", 1)
    global_batch([loader])
    state = json.loads(one_state([loader]))
    state["sources"][0].update(of_source)
    state.update(changes)
    with pytest.raises(ValueError, match=re.escape(words)):
        loader.load_state_dict(state)
    close([loader])


@pytest.mark.parametrize("name", ["lengths", "ids", "numbers", "dtype"])
def test_a_damaged_buffer_is_refused(tokenizer, tmp_path, name):
    write_parquet(tmp_path / "a.parquet", [texts(random.Random(1), 20)])
    [loader] = open_ranks(tmp_path, tokenizer, 8, "best-fit", 1)
    global_batch([loader])
    state = json.loads(one_state([loader]))
    buffer = state["sources"][0]["buffer"]
    buffer[name] = buffer[name][1:]
    with pytest.raises(ValueError, match="damaged"):
        loader.load_state_dict(state)
    close([loader])


@pytest.mark.parametrize(
    ("place", "words"),
    [((0, 13), "batch_size=12: 13 processes"), ((2, 2), "rank=2"), ((-1, 2), "rank=-1")],
)
def test_ranks_that_there_are_not(tokenizer, tmp_path, place, words):
    write_parquet(tmp_path / "a.parquet", [["text"]])
    loader = StreamLoader([stream(FileDocuments(tmp_path), tokenizer, 8)], ROWS)
    with pytest.raises(ValueError, match=words):
        loader.next_share(*place)


@pytest.mark.parametrize("packing", ["documents", "best-fit"])
def test_another_share_and_closing_change_nothing(tokenizer, tmp_path, packing):
    """What was made ahead for one rank is not another's."""
    write_parquet(tmp_path / "a.parquet", [texts(random.Random(9), 40)])
    one, other = (open_ranks(tmp_path, tokenizer, 16, packing, 1)[0] for _ in range(2))
    for rank, size in ((0, 1), (1, 2), (0, 2), (0, 2), (3, 4), (0, 1)):
        whole = np.stack(one.next_batch())
        share = np.stack(other.next_share(rank, size))
        assert np.array_equal(share, whole[:, rank * ROWS // size :][:, : ROWS // size])
        if size == 4:
            other.close()
        assert one.state_dict() == other.state_dict()
    close([one, other])


def test_the_others_rows_are_not_built(tokenizer, tmp_path, monkeypatch):
    write_parquet(tmp_path / "a.parquet", [texts(random.Random(9), 40)])
    filled = []
    fill = StreamRows.fill
    monkeypatch.setattr(StreamRows, "fill", lambda *args: (filled.append(1), fill(*args))[1])
    [loader] = open_ranks(tmp_path, tokenizer, 16, "documents", 1)
    loader.next_share(1, 4)
    loader.close()
    assert len(filled) == 2 * ROWS // 4  # the next batch's, too


def test_rows_of_a_loader_are_single(tokenizer):
    with pytest.raises(ValueError, match="batch_size=2"):
        LoaderRows(WindowLoader(Tokens.of(np.arange(50)), 2, 8))
