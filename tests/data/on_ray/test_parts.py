"""Files into parts and back: every document in one of them, wherever bytes are cut."""

import gzip
import io
import itertools
import json
import random
import re
import zlib
from pathlib import Path

import pytest

from bytemill import _core
from bytemill._core import CountingPass
from bytemill.data import expand_inputs, iter_documents
from bytemill.data.on_ray.checksum import combine
from bytemill.data.on_ray.parts import (
    Segment,
    default_part_bytes,
    partition,
    row_groups,
    separators,
)
from bytemill.data.on_ray.reading import FilePart, TextForm
from bytemill.data.on_ray.work import feed
from tests.support.input_forms import SPECIAL, as_text
from tests.support.vocabularies import generated_text

SIZES = (1, 7, 64, 1000, 40_000, 10**9)


def documents_in(parts, marks=(SPECIAL,)):
    """Of each part, as one machine would find them in what is read of it."""
    between = re.compile("|".join(map(re.escape, marks)))
    found = []
    for part in parts:
        texts = []
        for kind, _, what in FilePart(part, TextForm(marks=tuple(marks))).sources():
            if kind == "file":
                texts.append(Path(what).read_bytes().decode())
            elif kind == "range":
                texts.append(Path(what[0]).read_bytes()[slice(*what[1:])].decode())
            elif kind == "chunks":
                texts.append(b"".join(what).decode())
            else:
                texts += what
        found.append([one for text in texts for one in between.split(text) if one])
    return found


@pytest.mark.parametrize("name", ["a.txt", "b.jsonl", "c.parquet", "d.txt.gz"])
def test_every_document_is_in_one_part(name, tmp_path):
    rng = random.Random(3)
    texts = ["", "a", "\n", *("x é\r\n <|endof 日"[: rng.randint(0, 14)] * 3 for _ in range(60))]
    (tmp_path / name).write_bytes(written(name, texts))
    files = expand_inputs(tmp_path / name)
    want = list(iter_documents(tmp_path / name, special_tokens=[SPECIAL]))
    assert len(want) > 40
    n_parts = set()
    for size in SIZES[2:] if name.endswith(".parquet") else SIZES:
        found = documents_in(partition(files, size, [SPECIAL]))
        assert list(itertools.chain.from_iterable(found)) == want
        n_parts.add(sum(map(bool, found)))
    assert n_parts == {1} if name.endswith(".gz") else max(n_parts) > 5


def written(name, texts):
    if name.endswith(".parquet"):
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(pa.table({"n": range(len(texts)), "text": texts}), sink, row_group_size=3)
        return sink.getvalue()
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps({"text": text}) for text in texts).encode()
    plain = as_text(texts)
    return gzip.compress(plain) if name.endswith(".gz") else plain


def test_a_range_is_read_as_a_text_of_its_own(tmp_path, tokenizer):
    """Over several blocks, to the file's end and beyond it; where text begins is not moved."""
    data = (generated_text(5, 40_000) * 12).encode()
    assert len(data) > 3 << 20
    cuts = [0, 0, 5, 2_500_000, 2_500_001, len(data), len(data) + 9]
    cuts = [at + next(i for i in range(99) if data[at + i : at + i + 1] < b"\x80") for at in cuts]
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    ranges = [("range", "a", (str(path), *pair)) for pair in itertools.pairwise(cuts)]
    slices = [("chunks", "a", [data[start:end]]) for start, end in itertools.pairwise(cuts)]
    encoder = tokenizer.vocabulary.encoder
    found, want = (_core.encode_corpus(encoder, one, "uint16") for one in (ranges, slices))
    assert found == want
    assert want[2] == len(data)
    path.write_bytes(data[:9] + b"\xff" + data[9:])
    for name, (start, end), at in (("shown", (4, 99), 5), ("b", (9, 10), 0)):
        with pytest.raises(ValueError, match=f"{name}: invalid UTF-8 at byte {at}"):
            _core.encode_corpus(encoder, [("range", name, (str(path), start, end))], "uint16")


def test_small_files_share_a_part_and_large_ones_are_cut(tmp_path):
    for i, n in enumerate((10, 20, 500, 30)):
        (tmp_path / f"{i}.txt").write_bytes(b"x" * n)
    files = expand_inputs(tmp_path)
    cut = partition(files, 100, [SPECIAL])
    assert [sum(s.end - s.start for s in part) for part in cut] == [100] * 5 + [60]
    assert [(s.file.path.name, s.start) for s in cut[0]] == [
        ("0.txt", 0),
        ("1.txt", 0),
        ("2.txt", 0),
    ]
    # Without a mark there is no place where plain text may be cut.
    whole = partition(files, 100, [])
    assert [[s.file.path.name for s in part] for part in whole] == [
        ["0.txt", "1.txt"],
        ["2.txt"],
        ["3.txt"],
    ]
    assert all(s.is_whole for part in whole for s in part)


def test_a_part_is_a_64th_within_bounds():
    sizes = (0, 1 << 30, 4 << 30, 1 << 40)
    assert [default_part_bytes(n, 16 << 20) >> 20 for n in sizes] == [16, 16, 64, 512]


def test_marks_that_overlap_do_not_cut():
    assert separators(["<|a|>", "<|b|>"]) == (b"<|a|>", b"<|b|>")
    for marks in (["aa"], ["<|a|>", "<|a|><|a|>"], ["ab", "bc"], ["abc", "b"], ["xyx"]):
        assert separators(marks) == (), marks


def test_overlapping_marks_are_read_whole(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"xaaaaay" * 50)
    want = list(iter_documents(tmp_path, special_tokens=["aa"]))
    parts = partition(expand_inputs(tmp_path), 10, ["aa"])
    assert documents_in(parts, ["aa"]) == [want]


def test_row_groups_belong_where_they_begin(tmp_path):
    starts = [4, 100, 90, 200]  # the third is written before the second
    [file] = expand_inputs(_touched(tmp_path))
    for cuts in itertools.combinations(range(1, 260, 13), 2):
        ends = [0, *cuts, 260]
        found = [
            list(row_groups(starts, Segment(file, a, b, 260))) for a, b in itertools.pairwise(ends)
        ]
        assert list(itertools.chain.from_iterable(found)) == [0, 1, 2, 3], cuts


def _touched(folder):
    (folder / "a.parquet").write_bytes(b"")
    return folder / "a.parquet"


def test_errors_name_the_place_in_the_whole_file(tmp_path):
    text = SPECIAL.join(["good text"] * 50).encode()
    bad = text[:-3] + b"\xff" + text[-2:]
    (tmp_path / "a.txt").write_bytes(bad)
    lines = [b'{"text": "good"}'] * 50
    (tmp_path / "b.jsonl").write_bytes(b"\n".join([*lines, b'{"no": 1}']))
    for name, message in (("a.txt", f"byte {len(bad) - 3};"), ("b.jsonl", "b.jsonl:51: no column")):
        parts = partition(expand_inputs(tmp_path / name), 100, [SPECIAL])
        assert len(parts) > 3
        reader = FilePart(parts[-1], TextForm(marks=(SPECIAL,)))
        counting = CountingPass("gpt2", [SPECIAL])
        with pytest.raises(ValueError, match=message), reader.placing_errors():
            feed(counting, reader)


def test_a_worker_that_sees_another_file(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    [part] = partition(expand_inputs(tmp_path), 100, [])
    (tmp_path / "a.txt").write_text("other text")
    reader = FilePart(part, TextForm())
    with pytest.raises(ValueError, match=r"a\.txt: it has 10 bytes .* and 9 where the driver"):
        list(reader.sources())
    (tmp_path / "a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"all nodes mount under this path.*a\.txt"):
        list(reader.sources())


def test_checksums_are_joined():
    rng = random.Random(1)
    for n in (0, 1, 2, 255, 256, 70_000):
        first, second = rng.randbytes(n // 3), rng.randbytes(n)
        assert combine(zlib.crc32(first), zlib.crc32(second), n) == zlib.crc32(first + second)
