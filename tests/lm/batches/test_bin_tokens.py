"""Files of ids that other programs write: nanoGPT's and llm.c's .bin."""

import struct

import numpy as np
import pytest

pytest.importorskip("torch")

from bytemill.lm.batches.tokens import open_tokens

IDS = np.random.default_rng(1).integers(0, 50257, 1000)


def llm_c(ids, dtype="<u2", magic=20240520, version=1, count=None):
    """As llm.c's `write_datafile` lays it out, packed by hand."""
    head = struct.pack("<3i", magic, version, len(ids) if count is None else count)
    return head.ljust(1024, b"\0") + np.asarray(ids).astype(dtype).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(f"<{len(IDS)}H", *IDS),
        llm_c(IDS),
        llm_c(IDS, "<u4", 20240801, 7),
    ],
    ids=["nanoGPT", "llm.c", "llm.c, Llama 3"],
)
def test_they_are_read(tmp_path, data):
    path = tmp_path / "train.bin"
    path.write_bytes(data)
    tokens = open_tokens(path)
    assert len(tokens) == len(IDS)
    assert np.array_equal(tokens.window(0, len(IDS)), IDS)
    assert isinstance(tokens.ids, np.memmap)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"abc", "3 bytes"),
        (llm_c(IDS)[:-2], "truncated"),
        (llm_c(IDS) + b"ab", "truncated"),
        (llm_c(IDS)[:600], "truncated"),
        (llm_c([], count=0), "0 ids"),
        (llm_c(IDS, version=2), "version 2"),
    ],
)
def test_damaged_ones_are_named(tmp_path, data, words):
    path = tmp_path / "train.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        open_tokens(path)
    assert str(path) in str(caught.value)
