"""Damaged files of every kind: the loop of fuzz/readers.py, for a few cases of each."""

import os
import random

import pytest

from fuzz import readers

CASES = int(os.environ.get("BYTEMILL_CASES", "0")) or 60


@pytest.fixture(scope="module")
def surfaces():
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("zstandard", reason="zstandard is not installed")
    return readers.surfaces()


SURFACES = (
    *("folder", "tiktoken", "tokenizer_json", "gpt2_files", "counts"),
    *("txt", "jsonl", "jsonl_gz", "txt_zst", "parquet", "shards"),
)


@pytest.mark.parametrize("surface", SURFACES)
def test_damaged_files_raise_what_is_documented(surfaces, surface):
    if surface not in surfaces:
        pytest.skip(f"nothing here writes {surface}")
    seeds, read = surfaces[surface]
    assert readers.run_case(seeds[0], read) == (None, True)
    for files in seeds[1:]:  # what once went wrong
        assert readers.run_case(files, read)[0] is None
    for case in range(CASES):
        files = readers.make(seeds, random.Random(f"{surface} 0 {case}"))
        problem, _ = readers.run_case(files, read)
        assert problem is None, f"python -m fuzz.readers --surface {surface} --case {case}"


def test_no_surface_is_forgotten(surfaces):
    assert set(surfaces) <= set(SURFACES)


def test_a_finding_is_told_and_kept(tmp_path, monkeypatch, capsys):
    def read(folder):
        if (folder / "x").read_bytes() != b"good":
            raise KeyError("bad")

    monkeypatch.setattr(readers, "surfaces", lambda: {"x": ([{"x": b"good"}], read)})
    arguments = ["--cases", "20", "--artifacts", str(tmp_path)]
    assert readers.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "x --seed 0 --case 1: KeyError: 'bad'" in printed
    assert "20 cases" in printed
    assert (tmp_path / "x" / "1" / "x").read_bytes() != b"good"
