"""Files of ids and whose they are: what is read, and what is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm.batches.loaders import get_batch
from bytemill.lm.batches.tokens import Tokens, open_tokens
from bytemill.lm.batches.vocabulary import check_vocabulary


def test_other_tokenizers_shards(shards, tokenizer):
    other = Tokenizer.train(["quite another text"], 270)
    assert open_tokens(shards, tokenizer=tokenizer).fingerprint == tokenizer.fingerprint
    for wanted in (other, other.fingerprint):
        with pytest.raises(ValueError, match="another tokenizer"):
            open_tokens(shards, tokenizer=wanted)


def test_vocabulary(shards, tokenizer):
    tokens = open_tokens(shards)
    check_vocabulary(tokens, tokenizer.n_vocab)
    with pytest.raises(ValueError, match=f"vocab_size is {tokenizer.n_vocab - 1} "):
        check_vocabulary(tokens, tokenizer.n_vocab - 1)
    flat = Tokens.of(np.array([1, 5, 2]))
    check_vocabulary(flat, 6)
    with pytest.raises(
        ValueError, match=r"ids go up to 5, but .* vocab_size is 5 \(.* at token 1\)"
    ):
        check_vocabulary(flat, 5)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, ">i4"])
def test_negative_ids_are_named_before_anything_is_done(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("bytemill.lm.batches.tokens._PIECE", 100)
    ids = np.ones(1000, dtype)
    check_vocabulary(Tokens.of(ids), 2)
    ids[[777, 901]] = -100, -1
    np.save(tmp_path / "ids.npy", ids)
    with pytest.raises(ValueError, match=r"ids.npy: the id at token 777 is -100, and ids are at"):
        check_vocabulary(open_tokens(tmp_path / "ids.npy"), 1000)


@pytest.mark.parametrize("piece", [1, 3, 7, 20, 21, 1000])
def test_arrays_are_read_in_pieces(monkeypatch, piece):
    monkeypatch.setattr("bytemill.lm.batches.tokens._PIECE", piece)
    ids = np.array([6, 3, 9, 4, 6, 6, 5, 8, 7, 3, 6, 4, 4, 4, 4, 9, 6, 8, 6, 7], np.int16)
    tokens = Tokens.of(ids)
    assert tokens.document_starts(6).tolist() == [0, 4, 5, 10, 16, 18, 20]
    assert tokens.least_id() == 3 and tokens.largest_id() == 9
    for low, end, expected in ((4, 9, 1), (3, 9, 2), (3, 10, None), (None, 8, 2), (4, None, 1)):
        assert tokens.first_outside(low, end) == expected
    nothing = Tokens.of(ids[:0])
    assert nothing.least_id() == 0 and nothing.largest_id() == -1
    assert nothing.document_starts(6).tolist() == [0]


def test_flat_files(tmp_path):
    path = tmp_path / "ids.npy"
    np.save(path, np.arange(40, dtype=np.uint32))
    tokens = open_tokens(path)
    assert len(tokens) == 40 and tokens.dtype == np.uint32 and tokens.fingerprint is None
    assert isinstance(tokens.ids, np.memmap)
    x, y = get_batch(tokens.ids, 4, 8, "cpu")
    assert torch.equal(x + 1, y)
    with pytest.raises(FileNotFoundError, match="tok-encode"):
        open_tokens(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        open_tokens(tmp_path)
    for content, kind, message in (
        (np.zeros(5), TypeError, "float64"),
        (np.zeros((5, 2), int), ValueError, r"\(5, 2\)"),
    ):
        np.save(path, content)
        with pytest.raises(kind, match=message):
            open_tokens(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="not a NumPy file"):
        open_tokens(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="not a NumPy file"):
        open_tokens(path)
    np.savez(tmp_path / "two.npz", a=np.arange(3))
    with pytest.raises(ValueError, match="several arrays"):
        open_tokens(tmp_path / "two.npz")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a NumPy file"):
        open_tokens(path)
