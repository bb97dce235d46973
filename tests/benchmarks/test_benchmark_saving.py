"""The benchmark of saving: its blocks, and that each other one has a save in it."""

import sys

import pytest

pytest.importorskip("torch")

from benchmarks import saving


def test_it_compares_blocks_with_and_without_a_save(monkeypatch, capsys):
    monkeypatch.setattr(saving, "BLOCK", 1)
    words = ["saving", "--pairs", "2", "--layers", "1", "--width", "32"]
    monkeypatch.setattr(sys, "argv", words)
    saving.main()
    out = capsys.readouterr().out
    saved = [line.split(":")[0] for line in out.splitlines() if line.startswith("step")]
    assert saved == ["step 2", "step 4", "step 6", "step 7"]
    listed = [line.split(": ")[1].split(", ") for line in out.splitlines() if "in turn" in line]
    assert [len(each) for each in listed] == [4, 4]
    assert out.count("saving costs") == 2
