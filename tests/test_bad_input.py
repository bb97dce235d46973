"""Bad input gives an exception that names the value, counts nothing and leaves no file behind."""

import gzip
import io
import json
import os
import sys
from pathlib import Path

import pytest

from bytemill import BpeTrainer, Counts, train_bpe
from bytemill.data import expand_inputs, iter_documents

LONG = "some words and more of them\n" * 100_000


def zst(data):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    return zstandard.ZstdCompressor().compress(data)


def parquet(**columns):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def fails(path, error, *words, **options):
    """Every door refuses `path` with a message that has `words` in it; nothing is counted."""
    folder = path.parent if isinstance(path, Path) else None
    before = sorted(folder.iterdir()) if folder else None
    trainer = BpeTrainer(num_threads=2)
    trainer.feed(["kept"])
    with pytest.raises(error) as caught:
        trainer.feed_files(path, **options)
    assert trainer.counts.items() == [(b"kept", 1)]
    for word in words:
        assert str(word) in str(caught.value)
    with pytest.raises(error) as caught:
        list(iter_documents(path, **options))
    for word in words:
        assert str(word) in str(caught.value)
    if folder:
        assert sorted(folder.iterdir()) == before
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


@pytest.mark.parametrize(
    ("size", "tokens"), [(255, []), (256, ["<|e|>"]), (0, []), (-5, []), (257, ["a", "b"])]
)
def test_vocab_size_too_small(size, tokens, tmp_path):
    missing = tmp_path / "never_read.txt"
    with pytest.raises(ValueError, match=f"vocab_size={size} .*at least {256 + len(tokens)}"):
        train_bpe(missing, size, tokens)


def test_bad_arguments_are_found_before_the_text_is_read(tmp_path):
    missing = tmp_path / "never_read.txt"
    for options in (
        {"special_tokens": [""]},
        {"special_tokens": [7]},
        {"pattern": "(unclosed"},
        {"pattern": "gtp2"},
        {"tie_break": "random"},
    ):
        (value,) = options.values()
        with pytest.raises((ValueError, TypeError)) as caught:
            train_bpe(missing, 300, **options)
        shown = value[0] if isinstance(value, list) else value
        assert repr(shown).strip("'") in str(caught.value)


# Paths


def test_missing_paths(tmp_path):
    fails(tmp_path / "no.txt", FileNotFoundError, tmp_path / "no.txt")
    fails([tmp_path, tmp_path / "no.txt"], FileNotFoundError)
    fails(str(tmp_path / "*.txt"), FileNotFoundError, tmp_path / "*.txt", "no file matches")
    message = fails(tmp_path, FileNotFoundError, tmp_path, ".txt, .jsonl and .parquet")
    assert "known extension" in message


def test_a_folder_with_nothing_to_read(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "sub").mkdir()
    fails(tmp_path, FileNotFoundError, tmp_path)


def test_all_paths_are_checked_before_any_is_read(write, tmp_path):
    bad = write("a.txt", b"\xff")
    with pytest.raises(FileNotFoundError, match=r"z\.txt"):
        BpeTrainer().feed_files([bad, tmp_path / "z.txt"])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no file modes")
def test_unreadable_paths(write, tmp_path, monkeypatch):
    path = write("a.txt", "text")
    if os.geteuid() == 0:
        # The superuser may read all files; the answer of os.access is what is left to test.
        monkeypatch.setattr(os, "access", lambda *_: False)
    else:
        path.chmod(0)
    fails(path, PermissionError, path)


@pytest.mark.parametrize("paths", ["", [], [""], 3, b"a.txt", [b"a.txt"], None, [None]])
def test_what_is_no_path(paths):
    with pytest.raises((TypeError, ValueError)):
        expand_inputs(paths)


@pytest.mark.parametrize("name", ["a.zip", "a.txt.xz", "a.tar.gz", "a.bz2", "a.tgz"])
def test_archives(name, write):
    fails(write(name, b"data"), ValueError, name, ".txt, .jsonl and .parquet", ".zst")


# UTF-8


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"\xff", 0),
        (b"good \xff bad", 5),
        ("日本".encode()[:-1], 3),
        (b"\xed\xa0\xbd", 0),
        (b"\xc0\xaf", 0),
        (("é" * 700_001).encode() + b"x\xe9y", 1_400_003),
        (LONG.encode() + b"\x80" + LONG.encode(), len(LONG)),
    ],
)
def test_invalid_utf8(data, offset, write):
    place = f"invalid UTF-8 at byte {offset};"
    remedy = 'errors="replace"'
    path = write("a.txt", data)
    fails(path, ValueError, path, place, remedy)
    # The offset is that of the unpacked text.
    path = write("a.txt.gz", gzip.compress(data))
    fails(path, ValueError, path, place, remedy)
    path = write("a.txt.zst", zst(data))
    fails(path, ValueError, path, place, remedy)


def test_invalid_utf8_in_the_second_file_names_the_second_file(write, tmp_path):
    write("a.txt", "good\n" * 10)
    bad = write("b.txt", b"ok \xff")
    write("c.txt", "good\n" * 10)
    fails(tmp_path, ValueError, f"{bad}: invalid UTF-8 at byte 3")


def test_invalid_utf8_in_records(write):
    path = write("a.jsonl", b'{"text": "good"}\n{"text": "b\xffd"}\n')
    fails(path, ValueError, f"{path}:2: invalid UTF-8 at byte 11")
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = write("a.parquet", parquet(text=pa.array([b"good", b"b\xffd"], pa.binary())))
    fails(path, ValueError, f"{path}, row 1: invalid UTF-8 at byte 1")


def test_errors_is_checked(write):
    for call in (BpeTrainer().feed_files, lambda *a, **k: list(iter_documents(*a, **k))):
        with pytest.raises(ValueError, match="errors='ignore'"):
            call(write("a.txt", "text"), errors="ignore")


# Compressed files


def content(name):
    return (
        (json.dumps({"text": "words"}) + "\n").encode() * 50_000
        if "json" in name
        else LONG.encode()
    )


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.parquet.gz"])
def test_damaged_gzip(name, write):
    good = gzip.compress(content(name))
    fails(write(name, good[:-5]), ValueError, name, "truncated")
    fails(write(name, good[: len(good) // 2]), ValueError, name, "truncated")
    fails(write(name, b""), ValueError, name, "truncated")
    fails(write(name, b"no gzip at all"), ValueError, name, "corrupt")
    fails(write(name, good + b"garbage"), ValueError, name, "corrupt")
    middle = len(good) // 2
    damaged = (
        good[:middle] + bytes(255 - b for b in good[middle : middle + 20]) + good[middle + 20 :]
    )
    fails(write(name, damaged), ValueError, name)


@pytest.mark.parametrize("name", ["a.txt.zst", "a.jsonl.zst", "a.parquet.zst"])
def test_damaged_zstd(name, write):
    good = zst(content(name))
    fails(write(name, good[:-5]), ValueError, name, "truncated")
    fails(write(name, good + good[:-1]), ValueError, name, "truncated")
    fails(write(name, good[: len(good) // 2]), ValueError, name, "truncated")
    fails(write(name, b""), ValueError, name, "truncated")
    fails(write(name, b"no zstd at all"), ValueError, name, "corrupt")
    fails(write(name, good + b"garbage"), ValueError, name, "corrupt")


def test_zstd_truncated_at_every_byte(write):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    text = "".join(map(str, range(50))).encode()
    for checksum in (False, True):
        for content_size in (False, True):
            options = {"write_checksum": checksum, "write_content_size": content_size}
            frame = zstandard.ZstdCompressor(**options).compress(text)
            skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
            path = write("a.txt.zst", skippable + frame + skippable)
            assert list(iter_documents(path)) == [text.decode()]
            for end in range(1, len(frame)):
                path = write("a.txt.zst", frame + frame[:end])
                with pytest.raises(ValueError, match="truncated"):
                    list(iter_documents(path))


@pytest.mark.parametrize(("module", "name"), [("zstandard", "a.txt.zst"), ("pyarrow", "a.parquet")])
def test_a_missing_package(module, name, write, monkeypatch):
    if module == "zstandard" and sys.version_info >= (3, 14):
        pytest.skip("Python 3.14 reads .zst files itself")
    for loaded in list(sys.modules):
        if loaded.split(".")[0] == module:
            monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    fails(write(name, b"x"), ImportError, name, f"pip install {module}")


# Records


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", ["not JSON"]),
        ("[1, 2]", ["not a JSON object", "[1, 2]"]),
        ('"text"', ["not a JSON object"]),
        ('{"body": "x", "id": 1}', ["no column 'text'", "'body', 'id'"]),
        ("{}", ["no column 'text'", "none"]),
        ('{"text": 5}', ["'text'", "5"]),
        ('{"text": ["a"]}', ["'text'", "['a']"]),
        ('{"text": "a"} {"text": "b"}', ["not JSON"]),
        ("[" * 100_000, ["JSON"]),
        ('{"text": ' + "9" * 5000 + "}", []),
    ],
)
def test_bad_json_lines(line, words, write):
    path = write("a.jsonl", '{"text": "good"}\n\n' + line + '\n{"text": "good"}\n')
    fails(path, ValueError, f"{path}:3: ", *words)


def test_parquet_without_the_column(write):
    path = write("a.parquet", parquet(id=[1, 2], body=["a", "b"]))
    fails(path, ValueError, path, "'text'", "'id', 'body'")
    fails(path, ValueError, path, "column 'id' holds int64", text_column="id")
    path = write("b.parquet", parquet(text=[["a"], ["b"]]))
    fails(path, ValueError, path, "'text'", "list")


def test_damaged_parquet(write):
    good = parquet(text=["words " * 100] * 100)
    fails(write("a.parquet", b""), ValueError, "a.parquet")
    fails(write("a.parquet", b"no parquet at all"), ValueError, "a.parquet")
    fails(write("a.parquet", good[:-10]), ValueError, "a.parquet")
    fails(write("a.parquet", good[: len(good) // 2]), ValueError, "a.parquet")


# Iterators


@pytest.mark.parametrize("n_good", [0, 1, 50_000])
def test_an_iterator_that_raises(n_good):
    class MineError(Exception):
        pass

    def texts():
        yield from ["some good text "] * n_good
        raise MineError("half-way")

    trainer = BpeTrainer(num_threads=2)
    trainer.feed(["kept"])
    with pytest.raises(MineError, match="half-way"):
        trainer.feed(texts())
    assert trainer.counts.items() == [(b"kept", 1)]


def test_an_iterator_of_something_else():
    for item in (b"bytes", 3, None, ["text"]):
        with pytest.raises(TypeError, match="document 1 "):
            BpeTrainer().feed(["good", item])


# Counts


def test_counts_of_another_pattern_or_other_special_tokens():
    counts = BpeTrainer(pattern="gpt2", special_tokens=["<|e|>"]).counts
    other = BpeTrainer(pattern="cl100k", special_tokens=["<|e|>"])
    with pytest.raises(ValueError, match="pattern"):
        other.add_counts(counts)
    other = BpeTrainer(pattern="gpt2", special_tokens=["<|x|>"])
    with pytest.raises(ValueError, match=r"<\|x\|>"):
        other.add_counts(counts)
    with pytest.raises(TypeError, match=r"expected a bytemill\.Counts"):
        other.add_counts({b"a": 1})


def test_damaged_counts_files(write, tmp_path):
    trainer = BpeTrainer()
    trainer.feed(["some text"])
    path = tmp_path / "good.counts"
    trainer.counts.save(path)
    good = path.read_bytes()
    for end in (0, 1, 10, len(good) // 2, len(good) - 2):
        with pytest.raises(ValueError, match=r"bad\.counts"):
            Counts.load(write("bad.counts", good[:end]))
    for at in range(0, len(good), 7):
        damaged = bytes([*good[:at], good[at] ^ 0x55, *good[at + 1 :]])
        with pytest.raises(ValueError, match=r"bad\.counts"):
            Counts.load(write("bad.counts", damaged))
    with pytest.raises(ValueError, match=r"bad\.counts"):
        Counts.load(write("bad.counts", json.dumps({"a": 1})))
    with pytest.raises(FileNotFoundError, match=r"no\.counts"):
        Counts.load(tmp_path / "no.counts")


def test_damaged_bytes_of_counts():
    trainer = BpeTrainer(special_tokens=["<|e|>"])
    trainer.feed(["some text"])
    good = trainer.counts.to_bytes()
    assert Counts.from_bytes(good).items() == trainer.counts.items()
    for bad in (b"", b"{}", good[:-1], good[:20], good + b"\0", b"\0" + good):
        with pytest.raises(ValueError, match=rf"data={len(bad)} bytes: .*; count the text again"):
            Counts.from_bytes(bad)
    for at in range(len(good)):
        with pytest.raises(ValueError, match="data="):
            Counts.from_bytes(bytes([*good[:at], good[at] ^ 0x55, *good[at + 1 :]]))
    with pytest.raises(ValueError, match="counts of version 2, and this program reads 1"):
        Counts.from_bytes(b"bmcount\2" + good[8:])
    for other in ("text", 3, None):
        with pytest.raises(TypeError):
            Counts.from_bytes(other)


def test_counts_that_cannot_be_saved_leave_no_file(tmp_path):
    trainer = BpeTrainer()
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "missing" / "a.counts", tmp_path / "folder"):
        with pytest.raises(OSError):
            trainer.counts.save(target)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize(
    "items",
    [[(b"", 1)], [(b"a", 0)], [(b"a", -1)], [(b"a", 2**64)], [("a", 1)], [(b"a",)], [b"a"], 3],
)
def test_bad_items(items):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        Counts.from_items("gpt2", [], items)


def test_a_count_beyond_64_bits():
    with pytest.raises((ValueError, OverflowError)):
        Counts.from_items("gpt2", [], [(b"ab", 2**62), (b"cd", 2**62)])
    first = Counts.from_items("gpt2", [], [(b"ab", 2**62)])
    with pytest.raises((ValueError, OverflowError)):
        first.merge(Counts.from_items("gpt2", [], [(b"ab", 2**62)]))
    assert first.items() == [(b"ab", 2**62)]
