"""Batches: uniform windows, packed documents, exact resume, validation, too little data."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.batches.loaders import PackedLoader, WindowLoader, fixed_batches, get_batch
from bytemill.lm.batches.tokens import Tokens, open_tokens

BOS = "<|bos|>"


def uniform(counts):
    """Chi-square of counts that should be equal, in standard deviations from its mean."""
    expected = sum(counts) / len(counts)
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    freedom = len(counts) - 1
    return (chi_square - freedom) / (2 * freedom) ** 0.5


# Windows


@pytest.mark.parametrize("way", ["get_batch", "WindowLoader"])
def test_starts_are_uniform_over_all_valid_ones(way):
    ids = np.arange(107, dtype=np.uint16)
    if way == "get_batch":
        generator = torch.Generator().manual_seed(7)
        batches = [get_batch(ids, 50, 8, "cpu", generator) for _ in range(400)]
    else:
        loader = WindowLoader(Tokens.of(ids), 50, 8, seed=7)
        batches = [loader.next_batch() for _ in range(400)]
    for x, y in batches:
        assert x.shape == y.shape == (50, 8) and x.dtype == y.dtype == torch.int64
        assert x.is_contiguous()
        torch.testing.assert_close(y, x + 1, rtol=0, atol=0)
    counts = np.bincount(torch.cat([x[:, 0] for x, _ in batches]).numpy(), minlength=107)
    # 99 valid starts, the last at 98, whose window ends with the last token.
    assert counts[:99].min() > 0 and counts[99:].sum() == 0
    assert abs(uniform(counts[:99])) < 4
    # Starts in a batch, or in batches that follow each other, know nothing of each other.
    starts = np.stack([x[:, 0].numpy() for x, _ in batches]).ravel()
    assert abs(np.corrcoef(starts[:-1], starts[1:])[0, 1]) < 0.03


def test_windows_span_shards(shards):
    tokens = open_tokens(shards)
    assert len(tokens.ids.arrays) >= 3
    whole = np.concatenate(tokens.ids.arrays)
    loader = WindowLoader(tokens, 64, 700, seed=1)
    crossed = 0
    found = {whole[i : i + 20].tobytes(): i for i in range(len(whole) - 20)}
    for x, y in (loader.next_batch() for _ in range(2)):
        for row, target in zip(x.numpy(), y.numpy(), strict=True):
            start = found[row[:20].astype(whole.dtype).tobytes()]
            if len(np.unique(whole[start : start + 40])) > 5:
                np.testing.assert_array_equal(row, whole[start : start + 700])
                np.testing.assert_array_equal(target, whole[start + 1 : start + 701])
            crossed += start < len(tokens.ids.arrays[0]) < start + 700
    assert crossed > 10


def test_seeds_differ_and_repeat():
    tokens = Tokens.of(np.arange(5000, dtype=np.uint16))
    rows = [WindowLoader(tokens, 8, 4, seed=seed).next_batch()[0] for seed in (1, 1, 2)]
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


# Packed documents


def numbered(lengths):
    """Documents of BOS (0) and then ids that occur nowhere else."""
    documents, after = [], 1
    for length in lengths:
        documents.append([0, *range(after, after + length - 1)])
        after += length - 1
    return documents


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize("T", [2, 7, 64])
def test_packed_rows(n_rows, T):
    random = np.random.default_rng(T)
    documents = numbered([*random.integers(1, 40, size=30), 1, 1, 300, T, T + 1, T + 2])
    ids = np.concatenate(documents).astype(np.uint16)
    loader = PackedLoader(Tokens.of(ids), n_rows, T, bos_id=0, seed=3)
    asked: list[int] = []
    while loader.state_dict()["epoch"] == 0:
        x, y = (part.numpy() for part in loader.next_batch())
        assert (x[:, 0] == 0).all() and x.shape == y.shape == (n_rows, T)
        for row, target in zip(x, y, strict=True):
            asked.extend(target[target > 0])
            # What is asked for is what follows, except at the masked place.
            follows = target[:-1] == row[1:]
            assert follows[1:].all() and (follows[0] or target[0] == -1)
            for a, b in zip(row, target, strict=True):
                assert b in (0, -1) or a == 0 or b == a + 1
    # Each id was asked for once, and only the next epoch's more often.
    everything = np.arange(1, ids.max() + 1)
    counts = np.bincount(asked, minlength=ids.max() + 1)[1:]
    assert set(everything[counts == 0]) == set()
    assert counts.sum() - len(everything) <= n_rows * T
    # A BOS is given for each document and each row that goes on with one.
    assert (counts <= 2).all()


def test_packed_order_changes_with_epoch_and_seed():
    ids = np.concatenate(numbered([5] * 40))

    def firsts(seed):
        loader = PackedLoader(Tokens.of(ids), 20, 5, bos_id=0, seed=seed)
        return [loader.next_batch()[0][:, 1].tolist() for _ in range(4)]

    assert firsts(1) == firsts(1) != firsts(2)
    loader = firsts(1)
    assert loader[:2] != loader[2:]


def test_packed_shards(shards, tokenizer):
    bos = tokenizer.special_tokens[BOS]
    tokens = open_tokens(shards, tokenizer=tokenizer)
    flat = Tokens.of(np.concatenate(tokens.ids.arrays))
    starts = tokens.document_starts(bos)
    np.testing.assert_array_equal(starts, flat.document_starts(bos))
    assert len(starts) == tokens.ids.n_documents + 1
    one, other = (PackedLoader(t, 4, 32, bos_id=bos, seed=1) for t in (tokens, flat))
    for _ in range(20):
        (x, y), (other_x, other_y) = one.next_batch(), other.next_batch()
        assert torch.equal(x, other_x) and torch.equal(y, other_y)
        assert (x[:, 0] == bos).all()
    with pytest.raises(ValueError, match=r"bos_id=7; .*separator"):
        PackedLoader(tokens, 4, 32, bos_id=7)
    with pytest.raises(ValueError, match="at token 0 begins with id 3, not with bos_id=0"):
        PackedLoader(Tokens.of(np.array([3, 0, 1, 2, 3])), 1, 2, bos_id=0)
    with pytest.raises(ValueError, match="context_length=1"):
        PackedLoader(flat, 4, 1, bos_id=bos)


# Resume


def loaders(tokens, bos, **settings):
    settings = {"batch_size": 3, "context_length": 17, "seed": 9, **settings}
    sizes = settings["batch_size"], settings["context_length"]
    return [
        WindowLoader(tokens, *sizes, seed=settings["seed"]),
        PackedLoader(tokens, *sizes, bos_id=bos, seed=settings["seed"]),
    ]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("n", [0, 1, 13, 160])
def test_resume_is_exact(shards, tokenizer, which, n):
    tokens, bos = open_tokens(shards), tokenizer.special_tokens[BOS]
    through, again = (loaders(tokens, bos)[which] for _ in range(2))
    for _ in range(n):
        through.next_batch()
    state = json.loads(json.dumps(through.state_dict()))
    again.next_batch()
    again.load_state_dict(state)
    assert again.state_dict() == state
    for _ in range(30):
        for a, b in zip(through.next_batch(), again.next_batch(), strict=True):
            assert torch.equal(a, b)
    if which == 1 and n == 160:
        assert state["epoch"] > 0


@pytest.mark.parametrize("which", [0, 1])
def test_ranks_make_their_own_rows_of_the_same_batches(shards, tokenizer, which):
    tokens, bos = open_tokens(shards), tokenizer.special_tokens[BOS]

    def new():
        return loaders(tokens, bos, batch_size=7)[which]

    one, state = new(), new().state_dict()
    for size in (1, 2, 4, 3, 7, 1):
        ranks = [new() for _ in range(size)]
        for rank in ranks:
            rank.load_state_dict(json.loads(json.dumps(state)))
        for _ in range(20):
            whole = one.next_batch()
            shares = [loader.next_share(rank, size) for rank, loader in enumerate(ranks)]
            assert {len(x) for x, _ in shares} <= {7 // size, -(-7 // size)}
            for wanted, parts in zip(whole, zip(*shares, strict=True), strict=True):
                assert torch.equal(torch.cat(parts), wanted)
        states = [loader.state_dict() for loader in ranks]
        assert all(each == one.state_dict() for each in states)
        state = states[-1]
    with pytest.raises(ValueError, match="batch_size=7: 8 processes need a row each"):
        one.next_share(0, 8)


@pytest.mark.parametrize("which", [0, 1])
def test_the_others_tokens_are_not_read(which, monkeypatch):
    loader = loaders(Tokens.of(np.concatenate(numbered([9] * 300))), 0, batch_size=8)[which]
    read = []

    def get(tokens, span):
        read.append(span.stop - span.start)
        return tokens.ids[span]

    monkeypatch.setattr(Tokens, "__getitem__", get)
    monkeypatch.setattr(Tokens, "window", lambda self, start, n: self[start : start + n])
    loader.next_share(1, 4)
    # 2 rows of 18, which may begin with a BOS that is not read.
    assert 2 * 17 <= sum(read) <= 2 * 18


def test_state_of_something_else_is_refused(shards, tokenizer):
    tokens, bos = open_tokens(shards), tokenizer.special_tokens[BOS]
    window, packed = loaders(tokens, bos)
    other = Tokens.of(np.zeros(5000, np.uint16))
    for loader, state, message in (
        (window, packed.state_dict(), "document"),
        (window, {}, "batch_size"),
        (window, loaders(tokens, bos, seed=1)[0].state_dict(), "seed=1"),
        (window, loaders(tokens, bos, batch_size=2)[0].state_dict(), "batch_size=2"),
        (window, WindowLoader(other, 3, 17, seed=9).state_dict(), "fingerprint=None|n_tokens="),
        (window, {**window.state_dict(), "batch": -1}, "batch=-1"),
        (packed, {**packed.state_dict(), "document": 10**6}, "document=1000000"),
        (packed, {**packed.state_dict(), "offset": 10**6}, "offset=1000000"),
    ):
        with pytest.raises(ValueError, match=message):
            loader.load_state_dict(state)
    with pytest.raises(TypeError, match="batch="):
        window.load_state_dict({**window.state_dict(), "batch": "1"})


def test_the_last_places_of_a_packed_state():
    documents = numbered([4, 6, 9])
    loader = PackedLoader(Tokens.of(np.concatenate(documents)), 1, 2, bos_id=0, seed=2)
    state = loader.state_dict()
    for place in range(3):
        loader.load_state_dict({**state, "document": place})
        row, _ = loader.next_batch()
        (document,) = (d for d in documents if d[1] == row[0, 1])
        last = {**state, "document": place, "offset": len(document) - 1}
        loader.load_state_dict(last)
        # BOS and what was the last target; then the document's last id is asked for.
        x, y = loader.next_batch()
        assert x.tolist() == [[0, document[-2]]] and y.tolist() == [[-1, document[-1]]]
        with pytest.raises(ValueError, match=f"offset={len(document)} in a document of"):
            loader.load_state_dict({**last, "offset": len(document)})
    with pytest.raises(ValueError, match="document=3, but there are 3 documents"):
        loader.load_state_dict({**state, "document": 3})


# Validation


def test_fixed_batches(shards):
    tokens = open_tokens(shards, split="val")
    batches = fixed_batches(tokens, 12 * 16 + 15, 4, 16)
    again = fixed_batches(tokens, 12 * 16, 4, 16)
    seen = []
    whole = np.concatenate(tokens.ids.arrays).astype(np.int64)
    for (x, y), (x2, y2) in zip(batches, again, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
        assert x.shape == y.shape == (4, 16) and (y >= 0).all()
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
        seen.extend(x)
    assert len(batches) == 3
    starts = range(0, len(whole) - 16, 16)
    chosen = [s for s in starts if any(np.array_equal(whole[s : s + 16], row) for row in seen)]
    assert len(chosen) >= 12
    assert max(chosen) > len(whole) * 0.85


def test_fixed_batches_of_little_text():
    # Six windows of 8 and the token after the last; then one more, which is in none.
    for n in (49, 50):
        few = fixed_batches(Tokens.of(np.arange(n)), 1000, 4, 8)
        assert [len(x) for x, _ in few] == [4, 2]
        targets = np.concatenate([y for _, y in few]).ravel()
        assert sorted(targets) == list(range(1, 49))
    # One at least, however few are asked for.
    ((x, y),) = fixed_batches(Tokens.of(np.arange(50)), 3, 4, 8)
    assert x.tolist() == [[*range(8)]] and y.tolist() == [[*range(1, 9)]]
    ((x, y),) = fixed_batches(Tokens.of(np.array([5, 6, 7])), 8, 1, 4)
    assert x.tolist() == [[5, 6, 0, 0]] and y.tolist() == [[6, 7, -1, -1]]
    ((x, y),) = fixed_batches(Tokens.of(np.array([5, 6])), 8, 1, 4)
    assert x.tolist() == [[5, 0, 0, 0]] and y.tolist() == [[6, -1, -1, -1]]
    for sizes, name in (((0, 1, 4), "n_tokens=0"), ((8, 0, 4), "batch_size=0")):
        with pytest.raises(ValueError, match=name):
            fixed_batches(Tokens.of(np.arange(50)), *sizes)
    with pytest.raises(ValueError, match="1 tokens"):
        fixed_batches(Tokens.of(np.array([5])), 8, 1, 4)


def test_fixed_batches_are_the_same_rows_whatever_the_batch():
    ids = np.random.default_rng(0).integers(0, 99, size=2000)
    for batch_size in (1, 3, 8, 64):
        batches = fixed_batches(Tokens.of(ids), 700, batch_size, 16)
        assert all(len(x) == batch_size for x, _ in batches[:-1])
        rows = [np.concatenate(part) for part in zip(*batches, strict=True)]
        # 43 whole rows in 700 tokens, of the 124 that do not overlap: window i begins at i * 124
        # // 43 rows.
        starts = [i * 124 // 43 * 16 for i in range(43)]
        wanted = [ids[start : start + 16] for start in starts]
        np.testing.assert_array_equal(rows[0], wanted)
        np.testing.assert_array_equal(rows[1], [ids[start + 1 : start + 17] for start in starts])


# What is refused


def test_short_data():
    exact = Tokens.of(np.arange(9))
    assert WindowLoader(exact, 1, 8).next_batch()[1].tolist() == [list(range(1, 9))]
    for ids in (np.arange(8), np.zeros(0, np.uint16)):
        with pytest.raises(ValueError, match=f"it has {len(ids)} tokens.*needs 9"):
            WindowLoader(Tokens.of(ids), 1, 8)
        with pytest.raises(ValueError, match="needs 9"):
            get_batch(ids, 1, 8, "cpu")
    for sizes, name in (((0, 8), "batch_size=0"), ((1, 0), "context_length=0")):
        with pytest.raises(ValueError, match=name):
            WindowLoader(exact, *sizes)
    with pytest.raises(ValueError, match="seed=-1"):
        WindowLoader(exact, 1, 8, seed=-1)
    for make in (WindowLoader, lambda tokens, *sizes: get_batch(np.arange(9), *sizes, "cpu")):
        with pytest.raises(ValueError, match="batch_size=33554433 with context_length=8"):
            make(exact, 2**25 + 1, 8)
    assert WindowLoader(exact, 2**25, 8) is not None, "this many are taken"
    with pytest.raises(TypeError, match=r"batch_size=1\.5"):
        WindowLoader(exact, 1.5, 8)
