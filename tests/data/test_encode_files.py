"""Files to shards and back: every input form, splits, separators, bad arguments."""

import gzip
import os
import random
import shutil
import signal
import time
import zlib

import pytest

from bytemill import Tokenizer
from bytemill.data import expand_inputs, iter_documents, open_shards
from tests.support.input_forms import FORMS, SPECIAL, as_text
from tests.support.shard_cases import BOS, KEPT, contents, documents_of, first_part_is_val, split_up
from tests.support.vocabularies import generated_text, train

np = pytest.importorskip("numpy", reason="numpy is not installed")


@pytest.mark.parametrize(
    ("name", "num_threads"),
    [
        *((name, 2) for name in FORMS),
        *((name, n) for name in ("a.txt", "a.txt.gz", "a.jsonl", "a.parquet") for n in (1, 8)),
    ],
)
def test_every_form_of_file(name, num_threads, tmp_path, tokenizer, expected):
    path = tmp_path / name
    path.write_bytes(FORMS[name]())
    ids, offsets = tokenizer.encode_files_to_numpy(path, num_threads=num_threads)
    assert ids.dtype == np.uint16
    assert offsets.dtype == np.uint64
    assert split_up(ids, offsets) == expected
    out = tmp_path / "out"
    manifest = tokenizer.encode_files(path, out, num_threads=num_threads, shard_tokens=100_000)
    shards = open_shards(out, tokenizer=tokenizer, verify=True)
    assert documents_of(shards) == expected
    assert len(shards.arrays) > 1
    assert (manifest.n_tokens, manifest.n_documents) == (len(ids), len(expected))
    assert manifest.n_bytes == sum(len(document.encode()) for document in KEPT)
    assert manifest == shards.manifest


def test_separators(corpus, tmp_path, tokenizer, expected):
    end, bos = tokenizer.special_tokens[SPECIAL], tokenizer.special_tokens[BOS]
    ids, offsets = tokenizer.encode_files_to_numpy(corpus, separator=SPECIAL)
    assert split_up(ids, offsets) == [[*document, end] for document in expected]
    options = {"separator": BOS, "separator_at": "start"}
    ids, offsets = tokenizer.encode_files_to_numpy(corpus, **options)
    assert split_up(ids, offsets) == [[bos, *document] for document in expected]
    tokenizer.encode_files(corpus, tmp_path / "out", **options)
    shards = open_shards(tmp_path / "out")
    assert documents_of(shards) == [[bos, *document] for document in expected]
    assert shards.manifest.settings["separator_id"] == bos


def test_a_pattern_without_a_scanner(corpus):
    tokenizer = train([generated_text()], 400, [SPECIAL], pattern=r"\w+|\s+|[^\w\s]")
    ids, offsets = tokenizer.encode_files_to_numpy(corpus, num_threads=2)
    assert split_up(ids, offsets) == [tokenizer.encode_ordinary(document) for document in KEPT]


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.5, 1.0])
def test_split_by_hash(fraction, corpus, tmp_path, tokenizer, expected):
    outputs = []
    for num_threads in (1, 2, 8):
        out = tmp_path / f"out{num_threads}"
        options = {"validation_fraction": fraction, "shard_tokens": 50_000}
        tokenizer.encode_files(corpus, out, num_threads=num_threads, **options)
        outputs.append(contents(out))
    assert outputs[0] == outputs[1] == outputs[2]
    sides = {"train": [], "val": []}
    for document, ids in zip(KEPT, expected, strict=True):
        sides["val" if first_part_is_val(document, fraction) else "train"].append(ids)
    for split, want in sides.items():
        assert documents_of(open_shards(out, split=split, verify=True)) == want


def test_the_split_does_not_depend_on_order(tmp_path, tokenizer):
    """Long documents too, which are encoded in parts before their hash is known."""
    documents = [f"{i} " * (200_000 if i % 5 == 0 else 10) for i in range(40)]
    random.Random(1).shuffle(documents)
    sides = []
    for name, order in (("a", documents), ("b", documents[::-1])):
        (tmp_path / f"{name}.txt").write_bytes(as_text(order))
        tokenizer.encode_files(tmp_path / f"{name}.txt", tmp_path / name, validation_fraction=0.4)
        splits = [documents_of(open_shards(tmp_path / name, split=s)) for s in ("train", "val")]
        sides.append([sorted(split) for split in splits])
    assert sides[0] == sides[1]
    val = [tokenizer.encode_ordinary(d) for d in documents if first_part_is_val(d, 0.4)]
    assert sides[0][1] == sorted(val)
    assert any(len(ids) > 100_000 for ids in val)


def test_many_files_keep_their_order(tmp_path, tokenizer):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    folder = tmp_path / "in"
    folder.mkdir()
    for i, (name, make) in enumerate(FORMS.items()):
        if "." in name and not name.endswith((".c", ".c.gz")):
            (folder / f"{i:02}{name}").write_bytes(make())
    tokenizer.encode_files(folder, tmp_path / "out", num_threads=2)
    shards = open_shards(tmp_path / "out")
    want = iter_documents(folder, special_tokens=list(tokenizer.special_tokens))
    for i, document in enumerate(want):
        if i % len(KEPT) < 20 and len(document) < 10_000:
            assert shards.document(i).tolist() == tokenizer.encode_ordinary(document)
    assert i + 1 == shards.n_documents
    assert [entry["size"] for entry in shards.manifest.inputs] == [
        file.size for file in expand_inputs(folder)
    ]


def test_no_documents(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text(SPECIAL * 3)
    ids, offsets = tokenizer.encode_files_to_numpy(tmp_path / "a.txt")
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    manifest = tokenizer.encode_files(tmp_path / "a.txt", tmp_path / "out", separator=SPECIAL)
    assert manifest.n_documents == manifest.n_tokens == 0
    shards = open_shards(tmp_path / "out", verify=True)
    assert len(shards) == shards.n_documents == len(shards[:]) == 0
    with pytest.raises(IndexError, match="document 0 of 0"):
        shards.document(0)


def test_reading_across_shards(corpus, tmp_path, tokenizer, expected):
    tokenizer.encode_files(corpus, tmp_path / "out", shard_tokens=1000)
    shards = open_shards(tmp_path / "out")
    flat = np.array([id_ for document in expected for id_ in document], np.uint16)
    assert len(shards) == shards.n_tokens == len(flat)
    assert shards.n_documents == len(expected)
    assert shards.dtype == np.uint16
    assert np.array_equal(np.concatenate(shards.arrays), flat)
    rng = random.Random(5)
    bounds = [0, len(flat), *np.cumsum([len(a) for a in shards.arrays])]
    for _ in range(300):
        a, b = (int(rng.choice(bounds)) + rng.randint(-2, 2) for _ in "ab")
        assert np.array_equal(shards[a:b], flat[a:b])
    for i in (0, 1, -1, len(flat) // 2):
        assert shards[i] == flat[i]
    assert np.shares_memory(shards[10:20], shards.arrays[0])
    assert shards.document(-1).tolist() == expected[-1]
    for index in (len(flat), -len(flat) - 1):
        with pytest.raises(IndexError, match=str(index)):
            shards[index]
    with pytest.raises(ValueError, match="step 2"):
        shards[::2]
    with pytest.raises(ValueError, match="read-only"):
        shards.arrays[0][0] = 1
    for path in (tmp_path / "out").glob("*.npy"):
        saved = tmp_path / "again.npy"
        np.save(saved, np.load(path))
        assert saved.read_bytes() == path.read_bytes()


def test_dtype(corpus, tmp_path, tokenizer, expected):
    ids, _ = tokenizer.encode_files_to_numpy(corpus, dtype="uint32")
    assert ids.dtype == np.uint32
    assert ids.tolist() == [id_ for document in expected for id_ in document]
    large = Tokenizer.from_ranks(tokenizer.mergeable_ranks, {BOS: 65536}, pattern=tokenizer.pat_str)
    assert large.encode_files_to_numpy(corpus)[0].dtype == np.uint32
    with pytest.raises(ValueError, match=r'dtype="uint16".*65536.*"uint32"'):
        large.encode_files(corpus, tmp_path / "out", dtype="uint16")
    options = {"separator": BOS, "dtype": "uint32"}
    assert large.encode_files(corpus, tmp_path / "out", **options).dtype == "uint32"
    assert open_shards(tmp_path / "out").document(0)[-1] == 65536
    exact = Tokenizer.from_ranks(tokenizer.mergeable_ranks, {BOS: 65535}, pattern=tokenizer.pat_str)
    ids, _ = exact.encode_files_to_numpy(corpus, separator=BOS)
    assert ids.dtype == np.uint16
    assert ids[-1] == 65535


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dtype": "int16"}, ValueError, "int16.*uint32"),
        ({"separator": "<|no|>"}, ValueError, r"<\|no\|>.*<\|endoftext\|>"),
        ({"separator_at": "middle"}, ValueError, "middle.*start"),
        ({"shard_tokens": 0}, ValueError, "shard_tokens=0"),
        ({"shard_tokens": 1.5}, TypeError, "shard_tokens=1.5"),
        ({"validation_fraction": 1.1}, ValueError, "validation_fraction=1.1"),
        ({"validation_fraction": float("nan")}, ValueError, "validation_fraction=nan"),
        ({"validation_fraction": "0.1"}, TypeError, "validation_fraction='0.1'"),
        ({"num_threads": 0}, ValueError, "num_threads=0"),
        ({"num_threads": -1}, ValueError, "num_threads=-1"),
        ({"errors": "ignore"}, ValueError, "ignore.*replace"),
        ({"paths": []}, ValueError, "the list of paths is empty"),
        ({"paths": "no/such/file"}, FileNotFoundError, "no/such/file"),
        ({"paths": 3}, TypeError, "3"),
    ],
)
def test_bad_arguments_leave_nothing(options, error, words, corpus, tmp_path, tokenizer):
    with pytest.raises(error, match=words):
        tokenizer.encode_files(**{"paths": corpus, "out_dir": tmp_path / "a" / "out", **options})
    assert not (tmp_path / "a").exists()


def test_bad_text_leaves_nothing(tmp_path, tokenizer):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"good " * 300_000 + b"\xff")
    with pytest.raises(ValueError, match=r"bad\.txt: invalid UTF-8 at byte 1500000"):
        tokenizer.encode_files(bad, tmp_path / "a" / "out", num_threads=2)
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match=r"bad\.txt: invalid UTF-8 at byte 1500000"):
        tokenizer.encode_files_to_numpy(bad)
    ids, _ = tokenizer.encode_files_to_numpy(bad, errors="replace")
    assert tokenizer.decode(ids.tolist()) == "good " * 300_000 + "\ufffd"


def test_what_progress_raises_ends_the_call(corpus, tmp_path, tokenizer):
    def fail(done, total):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        tokenizer.encode_files(corpus, tmp_path / "out", progress=fail)
    seen = []
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    tokenizer.encode_files(corpus, out, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (corpus.stat().st_size,) * 2


def test_the_inputs_are_known_by_content(corpus, tmp_path, tokenizer):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"some text"))
    (entry,) = tokenizer.encode_files(path, tmp_path / "out").inputs
    size, crc32 = path.stat().st_size, zlib.crc32(path.read_bytes())
    assert entry == {"path": str(path), "size": size, "crc32": crc32}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_ctrl_c_does_not_wait_for_the_inputs_to_be_known(tmp_path, tokenizer):
    path = tmp_path / "a.txt"
    path.touch()
    os.truncate(path, 1 << 40)  # a hole, which takes minutes to read
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.process_time()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            tokenizer.encode_files(path, tmp_path / "out")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - started < 30
    assert not (tmp_path / "out").exists()
