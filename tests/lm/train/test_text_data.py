"""Runs on text that is encoded on the way, and on mixtures."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from bytemill.data.download.manifest import DownloadManifest, KnownFile, digest_of
from bytemill.lm.batches.stream.corpus import is_text, placed, weighed
from bytemill.lm.checkpoint.one_file import load_model
from bytemill.lm.train import Trainer, events
from bytemill.lm.train.run_data import RunData
from tests.support.lm_runs import BOS, config, documents, make_ids, make_shards
from tests.support.text_corpora import write_parquet


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Shards, a tokenizer, and the same documents as a download of three parquet files."""
    folder = tmp_path_factory.mktemp("made")
    make_shards(folder)
    make_ids(folder)
    texts = documents()
    (folder / "corpus").mkdir()
    for i in range(3):
        part = texts[20 * i : 20 * i + 20]
        write_parquet(folder / "corpus" / f"shard_{i}.parquet", [part[:10], part[10:]])
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def pin(folder):
    """As `bytemill download` leaves it."""
    corpus = folder / "corpus"
    files = {p.name: KnownFile(p.stat().st_size, digest_of(p)) for p in corpus.iterdir()}
    DownloadManifest("x", None, "shard_2.parquet", files).save(corpus)


def on_text(folder, **changes):
    fields = {"data": str(folder / "corpus"), "tokenizer": str(folder / "tokenizer")}
    return config(folder, **{**fields, **changes})


def joined(lists):
    return [token for ids in lists for token in ids]


def weights(run):
    return load_model(run, which="last").model.state_dict()


@pytest.mark.parametrize("loader", ["auto", "best-fit", "mixture"])
def test_a_run_that_is_resumed_has_the_same_bits(folder, monkeypatch, loader):
    changes = {"loader": loader}
    if loader == "mixture":
        data = f"0.7={folder}/corpus/*.parquet; 0.3={folder}/shards"
        changes = {"data": data, "batch_size": 8}
    pin(folder)
    monkeypatch.setattr("bytemill.lm.batches.stream.packing.BUFFER", 9)
    whole = Trainer(on_text(folder, out=str(folder / "whole"), steps=12, **changes)).run()
    assert whole.validation is not None and whole.validation.bits_per_byte is not None

    def stop(event):
        if isinstance(event, events.Stepped) and event.step == 5:
            first.stop()

    settings = on_text(folder, steps=12, **changes)
    first = Trainer(settings, on_event=stop)
    assert first.run().step == 5
    monkeypatch.chdir(folder.parent)
    second = Trainer(settings, resume=True).run()
    assert second.step == 12
    ours, theirs = weights(folder / "run"), weights(folder / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert second.validation == whole.validation


def test_validation_is_the_pinned_file_and_never_trained_on(folder):
    alone = RunData.open(on_text(folder).data)
    assert alone.val is None and len(alone.train) == len(alone.train.ids)
    pin(folder)
    data = RunData.open(on_text(folder).data)
    bos_id = data.tokenizer.special_tokens[BOS]
    wanted = [[bos_id, *data.tokenizer.encode_ordinary(text)] for text in documents()]
    assert data.val.window(0, 1 << 20).tolist() == joined(wanted[40:])
    assert data.train.window(0, 1 << 20).tolist() == joined(wanted[:40])
    assert len(data.parts[0].documents.files) == 2
    # Named, it counts as well, and is left out of the text.
    (folder / "corpus" / "download.json").unlink()
    named = on_text(folder, val_data=str(folder / "corpus" / "shard_0.parquet"))
    data = RunData.open(named.data)
    assert data.val.window(0, 1 << 20).tolist() == joined(wanted[:20])
    assert data.train.window(0, 1 << 20).tolist() == joined(wanted[20:])


def test_the_number_of_tokens_is_estimated(folder, monkeypatch):
    exact = len(RunData.open(on_text(folder).data).train)
    monkeypatch.setattr("bytemill.lm.batches.stream.corpus._SAMPLE", 100)
    monkeypatch.setattr("bytemill.lm.batches.stream.corpus._BATCH", 4)
    about = len(RunData.open(on_text(folder).data).train)
    assert about != exact and 0.5 * exact < about < 2 * exact


@pytest.mark.parametrize("change", ["order", "text", "more", "column"])
@pytest.mark.parametrize("data", ["{}/corpus", "1={}/ids.npy; 1={}/corpus"])
def test_other_text_has_another_content(folder, change, data):
    """Ranks compare it before the first step."""
    fields = {"data": data.replace("{}", str(folder))}
    before = RunData.open(on_text(folder, **fields).data).train.content
    assert RunData.open(on_text(folder, **fields).data).train.content == before
    corpus = folder / "corpus"
    if change == "order":
        (corpus / "shard_0.parquet").rename(corpus / "shard_9.parquet")
    elif change == "text":
        write_parquet(corpus / "shard_2.parquet", [["other text"]])
    elif change == "more":
        write_parquet(corpus / "shard_3.parquet", [["more text"]])
    else:
        for path in corpus.iterdir():
            write_parquet(path, [documents()[:3]], "body")
        fields["text_column"] = "body"
    assert RunData.open(on_text(folder, **fields).data).train.content != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer": None}, "tokenizer=None: .* is text"),
        ({"loader": "windows"}, 'loader="windows": text'),
        ({"data": "{}/ids.npy", "loader": "best-fit"}, 'loader="best-fit": it is for text'),
        ({"data": "{}/shards", "loader": "best-fit"}, 'loader="best-fit": it is for text'),
        ({"data": "1={}/corpus; {}/shards"}, "is not like that"),
        ({"data": "1={}/corpus; 0={}/shards"}, "weights above 0"),
        ({"text_column": "body"}, "no single column 'body'"),
        ({"bos": "<|end|>"}, "special tokens are"),
    ],
)
def test_what_does_not_go_together(folder, changes, words):
    if "data" in changes:
        changes = {**changes, "data": changes["data"].replace("{}", str(folder))}
    with pytest.raises(ValueError, match=words):
        Trainer(on_text(folder, **changes)).run()
    assert not (folder / "run").exists()


def test_files_that_are_not_there(folder):
    for data in ("corpus/*.jsonl", "nowhere", "1=corpus; 2=nowhere"):
        with pytest.raises(FileNotFoundError):
            Trainer(on_text(folder, data=data.replace("corpus", f"{folder}/corpus"))).run()


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("corpus/*.parquet", [(1.0, "corpus/*.parquet")]),
        ("0.7=web/*.parquet; .3 = books", [(0.7, "web/*.parquet"), (0.3, "books")]),
        ("2=a=b;1=c d", [(2.0, "a=b"), (1.0, "c d")]),
        ("2=a", [(2.0, "a")]),
        ("a;b", [(1.0, "a;b")]),
    ],
)
def test_mixtures_are_read(data, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert weighed(data) == parts
    whole = [(weight, str(tmp_path / path)) for weight, path in parts]
    assert weighed(placed(data)) == whole
    assert placed(placed(data)) == placed(data)


def test_a_path_that_looks_like_a_mixture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1=a").mkdir()
    assert weighed("1=a") == [(1.0, "1=a")]


def test_text_and_ids_are_told_apart(folder):
    text = ["corpus", "corpus/*.parquet", "corpus/shard_0.parquet", "corpus.txt"]
    ids = ["shards", "ids.npy", "train.bin", "nowhere"]
    (folder / "train.bin").write_bytes(bytes(8))
    assert [is_text(str(folder / name)) for name in text] == [True] * 4
    assert [is_text(str(folder / name)) for name in ids] == [False] * 4


def test_the_shares_of_a_mixture_of_ids(folder):
    np.save(folder / "low.npy", np.tile(np.arange(10, dtype=np.uint16), 30))
    np.save(folder / "high.npy", np.tile(np.arange(10, 20, dtype=np.uint16), 30))
    settings = config(folder, data=f"3={folder}/low.npy;1={folder}/high.npy")
    data = RunData.open(settings.data)
    assert (data.n_vocab, len(data.train)) == (20, 600)
    loader = data.loader(settings.data, 400, 16, 1, torch.device("cpu"))
    x, _ = loader.next_batch()
    # 300 of 400 rows are expected; the deviation is 8.7.
    assert 260 < int((x[:, 0] < 10).sum()) < 340
    loader.close()
