"""Files that are damaged, missing, changed or of another kind: each is named, none is used."""

import json
import random

import pytest

torch = pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from bytemill import Tokenizer
from bytemill.data import expand_inputs
from bytemill.data.download.manifest import DownloadManifest, KnownFile, digest_of
from bytemill.data.pieces import read_pieces
from bytemill.lm.batches.stream.documents import FileDocuments, ItemDocuments
from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.batches.stream.rows import StreamRows
from tests.support.text_corpora import BOS, WORDS, texts, write_parquet


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([" ".join(WORDS)] * 3, 280, special_tokens=[BOS])


@pytest.fixture
def corpus(tmp_path):
    rng = random.Random(1)
    for name in "abc":
        write_parquet(tmp_path / f"{name}.parquet", [texts(rng, 30), texts(rng, 30)])
    return tmp_path


def loader_of(documents, tokenizer, state=None):
    rows = StreamRows(documents, tokenizer, 16, bos_id=tokenizer.special_tokens[BOS])
    loader = StreamLoader([rows], 8)
    if state is not None:
        loader.load_state_dict(json.loads(json.dumps(state)))
    return loader


def read(documents, tokenizer, batches=60, state=None):
    """The state after some batches."""
    loader = loader_of(documents, tokenizer, state)
    try:
        for _ in range(batches):
            loader.next_batch()
        return loader.state_dict()
    finally:
        loader.close()


def test_a_truncated_shard(corpus, tokenizer):
    path = corpus / "b.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    loader = loader_of(FileDocuments(corpus), tokenizer)
    seen = 0
    with pytest.raises(ValueError, match=r"b\.parquet: not readable as parquet"):
        for _ in range(60):
            loader.next_batch()
            seen += 1
    with pytest.raises(ValueError, match=r"b\.parquet: not readable as parquet"):
        loader.next_batch()
    # What lies before it has been handed out.
    assert seen == read_batches_of(corpus / "a.parquet", tokenizer)
    loader.close()


def read_batches_of(path, tokenizer):
    """How many whole batches one pass over a file gives."""
    loader = loader_of(FileDocuments(path), tokenizer)
    batches = 0
    while True:
        loader.next_batch()
        if loader.state_dict()["sources"][0]["place"][0] > 0:
            loader.close()
            return batches
        batches += 1


def test_a_page_that_is_damaged(corpus, tokenizer):
    path = corpus / "b.parquet"
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    data[start + 20 : start + 60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"b\.parquet"):
        read(FileDocuments(corpus), tokenizer)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"body": ["x"]}, "no single column 'text'; there are: 'body'"),
        ({"text": [1]}, "column 'text' holds int64, not strings"),
        ({"text": [["x"]]}, "column 'text' holds list"),
    ],
)
def test_columns_of_another_kind(corpus, tokenizer, column, words):
    pq.write_table(pa.table(column), corpus / "b.parquet")
    with pytest.raises(ValueError, match=words) as caught:
        read(FileDocuments(corpus), tokenizer)
    assert "b.parquet" in str(caught.value)


@pytest.mark.parametrize("kind", ["large_string", "binary", "dictionary"])
def test_columns_that_hold_text_in_other_ways(tmp_path, tokenizer, kind):
    documents = texts(random.Random(2), 50)
    write_parquet(tmp_path / "plain.parquet", [documents])
    types = {
        "large_string": pa.large_string(),
        "binary": pa.binary(),
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
    }
    column = pa.array(documents).cast(types[kind])
    pq.write_table(pa.table({"text": column}), tmp_path / "other.parquet")
    batches = []
    for name in ("plain", "other"):
        loader = loader_of(FileDocuments(tmp_path / f"{name}.parquet"), tokenizer)
        batches.append(torch.stack(loader.next_batch()))
        loader.close()
    assert torch.equal(*batches)


@pytest.mark.parametrize("groups", [[[], ["some text", "more"], []], [["", None], ["text"]]])
def test_empty_row_groups_work(tmp_path, tokenizer, groups):
    write_parquet(tmp_path / "a.parquet", groups)
    state = read(FileDocuments(tmp_path), tokenizer, 3)
    assert state["sources"][0]["place"][0] > 0


@pytest.mark.parametrize("groups", [[], [[]], [["", None]]])
def test_a_corpus_without_any_text_ends(tmp_path, tokenizer, groups):
    write_parquet(tmp_path / "a.parquet", groups)
    with pytest.raises(ValueError, match="document"):
        read(FileDocuments(tmp_path), tokenizer, 1)


def test_a_row_group_that_is_too_large_is_read_in_parts(corpus, tokenizer, monkeypatch):
    def batches(state=None):
        loader = loader_of(FileDocuments(corpus), tokenizer, state)
        found = [torch.stack(loader.next_batch()) for _ in range(20)]
        after = loader.state_dict()
        loader.close()
        return torch.stack(found), after

    first, state = batches()
    second, _ = batches(state)
    monkeypatch.setattr("bytemill.data.pieces._MOST_BYTES", 100)
    monkeypatch.setattr("bytemill.data.pieces._DOCUMENTS", 7)
    assert torch.equal(batches()[0], first)
    assert torch.equal(batches(state)[0], second)


def test_a_file_that_is_replaced_while_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, [["one"], ["two"]])
    pieces = read_pieces(expand_inputs(path)[0])
    first, second = next(pieces), next(pieces)
    assert first.read() == ["one"]
    write_parquet(tmp_path / "b.parquet", [["uno"], ["due"]])
    (tmp_path / "b.parquet").replace(path)
    with pytest.raises(ValueError, match=r"a\.parquet: it was changed while it was read"):
        second.read()


# Between two runs


def test_a_file_that_was_changed(corpus, tokenizer):
    state = read(FileDocuments(corpus), tokenizer, 5)
    path = corpus / "a.parquet"
    write_parquet(path, [texts(random.Random(9), 60)])
    with pytest.raises(ValueError, match=r"a\.parquet: it is not the file that was read before"):
        read(FileDocuments(corpus), tokenizer, 1, state)


def test_a_file_that_was_changed_is_found_in_the_next_epoch(corpus, tokenizer):
    per_file = read_batches_of(corpus / "a.parquet", tokenizer)
    state = read(FileDocuments(corpus), tokenizer, per_file + 2)
    assert [name for name, _ in state["sources"][0]["files"]][:2] == ["a.parquet", "b.parquet"]
    write_parquet(corpus / "a.parquet", [texts(random.Random(9), 60)])
    with pytest.raises(ValueError, match=r"a\.parquet: it is not the file that was read before"):
        read(FileDocuments(corpus), tokenizer, 60, state)


@pytest.mark.parametrize("change", ["missing", "before"])
def test_files_that_are_not_the_same_ones(corpus, tokenizer, change):
    per_file = read_batches_of(corpus / "a.parquet", tokenizer)
    state = read(FileDocuments(corpus), tokenizer, per_file + 2)
    if change == "missing":
        (corpus / "a.parquet").unlink()
    else:
        write_parquet(corpus / "aa.parquet", [["new"]])
    with pytest.raises(ValueError, match=r"file [12] was '[ab]\.parquet'.*sort behind"):
        read(FileDocuments(corpus), tokenizer, 1, state)


# Downloads


def record(corpus, validation=None):
    files = {
        path.name: KnownFile(path.stat().st_size, digest_of(path))
        for path in sorted(corpus.glob("*.parquet"))
    }
    DownloadManifest("x", None, validation, files).save(corpus)


def test_a_download_is_checked_before_it_is_used(corpus, tokenizer):
    record(corpus)
    read(FileDocuments(corpus), tokenizer)
    path = corpus / "c.parquet"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"c\.parquet: its SHA-256 is not the one"):
        read(FileDocuments(corpus), tokenizer)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"c\.parquet: it has .* bytes, and had"):
        FileDocuments(corpus)
    path.unlink()
    with pytest.raises(ValueError, match=r"c\.parquet: .* missing; run bytemill download"):
        FileDocuments(corpus)


def test_nothing_is_left_to_train_on(corpus):
    with pytest.raises(ValueError, match="nothing to train on"):
        FileDocuments(corpus / "a.parquet", leave_out=[corpus / "a.parquet"])


def test_the_record_of_a_download_is_not_text(corpus, recwarn):
    record(corpus)
    assert [file.path.name for file in expand_inputs(corpus)] == [f"{n}.parquet" for n in "abc"]
    assert not recwarn


def test_a_loader_goes_on_after_a_state_that_it_refused(corpus, tokenizer):
    loader, other = (loader_of(FileDocuments(corpus), tokenizer) for _ in range(2))
    loader.next_batch()
    other.next_batch()
    state = json.loads(json.dumps(loader.state_dict()))
    state["sources"][0]["files"][0][0] = "z.parquet"
    with pytest.raises(ValueError, match=r"z\.parquet"):
        loader.load_state_dict(state)
    assert loader.state_dict() == other.state_dict()
    other.close()
    loader.close()


# Iterables


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([{"body": "x"}], "item 0 has no 'text'; there are: 'body'"),
        ([{"text": "x"}, {"text": 5}], "item 1 is not text but int"),
        ([], "it gave 0 items"),
        ((text for text in ["once", "only"]), "cannot be iterated over again"),
        ([None, ""], "none of its documents has any text"),
    ],
)
def test_items_that_are_refused(tokenizer, items, words):
    with pytest.raises(ValueError, match=words):
        read(ItemDocuments(items, source="mine"), tokenizer, 3)


def test_items_that_have_become_fewer(tokenizer):
    items = [{"text": text} for text in texts(random.Random(1), 40)]
    state = read(ItemDocuments(items), tokenizer, 2)
    with pytest.raises(ValueError, match="it gave 2 items"):
        read(ItemDocuments(items[:2]), tokenizer, 1, state)
