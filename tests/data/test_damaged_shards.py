"""Shards and manifests that were changed after they were written."""

import errno
import json

import pytest

from bytemill.data import open_shards
from tests.support.shard_cases import contents
from tests.support.vocabularies import train

np = pytest.importorskip("numpy", reason="numpy is not installed")


def test_damaged_shards(corpus, tmp_path, tokenizer):
    out = tmp_path / "out"
    tokenizer.encode_files(corpus, out, shard_tokens=100_000, validation_fraction=0.2)
    whole = contents(out)
    path = out / "train-00001.npy"

    def refused(words, **options):
        with pytest.raises(ValueError, match=words):
            open_shards(out, **options)
        for name, data in whole.items():
            (out / name).write_bytes(data)

    path.unlink()
    refused(r"train-00001\.npy: the file is missing.*encode the files again")
    path.write_bytes(whole[path.name][:-1])
    refused(r"train-00001\.npy: it has \d+ bytes instead of \d+")
    with (out / "train-00000.docs.npy").open("ab") as file:
        file.write(b"12345678")
    refused(r"train-00000\.docs\.npy: it has")
    data = bytearray(whole[path.name])
    data[-1] ^= 1
    path.write_bytes(data)
    assert open_shards(out).n_tokens
    refused(r"train-00001\.npy: its CRC-32", verify=True)
    data = bytearray(whole[path.name])
    data[20] ^= 0x7F
    path.write_bytes(data)
    refused(r"train-00001\.npy: it ")
    refused("another tokenizer", tokenizer="0" * 64)
    refused("another tokenizer", tokenizer=train(["a b"], 257))
    refused("split='test'", split="test")
    assert open_shards(out, tokenizer=tokenizer.fingerprint, verify=True).n_documents


HEADERS = (
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (4,)",
    b"  {}\n a",
    b"{1: 2, 'a': 3}",
    b"{{}: 1}",
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (True,), }",
    b"{'descr': '<u2', 'fortran_order': False, 'shape': (" + b"9" * 30 + b",), }",
    b"[" * 99,
    b"\xff",
)


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_numpy_trips_over(header, corpus, tmp_path, tokenizer):
    tokenizer.encode_files(corpus, tmp_path / "out")
    path = tmp_path / "out" / "train-00000.npy"
    data = bytearray(path.read_bytes())
    # The header begins at byte 10, and is as long as it was.
    data[10:128] = header.ljust(117)[:117] + b"\n"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-00000\.npy: it is not a NumPy file"):
        open_shards(tmp_path / "out")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("mmap.so: failed to map segment from shared object"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_no_damage(error, corpus, tmp_path, tokenizer, monkeypatch):
    tokenizer.encode_files(corpus, tmp_path / "out")

    def refuse(*args, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "open_memmap", refuse)
        with pytest.raises(MemoryError):
            open_shards(tmp_path / "out")
    assert open_shards(tmp_path / "out").n_documents


def test_damaged_manifest(corpus, tmp_path, tokenizer):
    out = tmp_path / "out"
    tokenizer.encode_files(corpus, out)
    path = out / "manifest.json"
    good = json.loads(path.read_text())
    shard = good["splits"]["train"][0]

    def with_shard(**fields):
        return {**good, "splits": {"train": [{**shard, **fields}], "val": []}}

    for bad, words in (
        ({**good, "format": "x"}, "format"),
        ({**good, "version": 2}, "version 2"),
        ({**good, "version": "1"}, "version '1'"),
        ({**good, "dtype": "int8"}, "int8"),
        ({**good, "more": 1}, "more"),
        ({k: v for k, v in good.items() if k != "splits"}, "splits"),
        ({**good, "splits": []}, "damaged"),
        ({**good, "counts": {}}, "counts"),
        (with_shard(file="../x.npy"), "x.npy"),
        (with_shard(tokens=-1), "tokens"),
        (with_shard(tokens="1"), "tokens"),
        (with_shard(tokens=shard["tokens"] + 1), "counts"),
        ([], "manifest"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=words):
            open_shards(out)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"manifest\.json"):
        open_shards(out)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        open_shards(out)
