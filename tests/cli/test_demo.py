"""`bytemill demo`, run as a user runs it."""

import re

import pytest

from bytemill import Tokenizer
from tests.support.programs import is_one_line, run


def test_demo(tmp_path):
    pytest.importorskip("torch", reason="the demo trains a model")
    for _ in range(2):  # the second one replaces what the first one made
        done = run("demo", "--quick", "--out", tmp_path / "t")
        assert done.returncode == 0, done.stderr
        assert "<|bos|>|" in done.stdout
        found = re.findall(r"^(.+?) +(\d\.\d{3})  ", done.stdout, re.MULTILINE)
        names = ["unigram model", "gzip -9", "bigram model", "this model"]
        assert [name for name, _ in found] == names
        assert all(0.5 < float(value) < 8 for _, value in found)
    tokenizer = Tokenizer.load(tmp_path / "t" / "tokenizer")
    assert tokenizer.special_tokens == {"<|bos|>": tokenizer.n_vocab - 1}
    made = {path.name for path in (tmp_path / "t" / "model").iterdir()}
    assert made >= {"checkpoints", "config.json", "loss.png", "metrics.jsonl", "tokenizer"}
    assert all(f"    {start}" in done.stdout for start in ("def", "class", "import"))


def test_demo_deletes_nothing_else(tmp_path):
    pytest.importorskip("torch", reason="the demo trains a model")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.txt").write_text("kept")
    done = run("demo", "--quick", "--out", tmp_path)
    assert done.returncode == 2
    is_one_line(done.stderr, "demo's", tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["precious.txt"]
    done = run("demo", "--quick", "--steps", 0, "--out", tmp_path / "new")
    assert done.returncode == 2 and not (tmp_path / "new").exists()
    is_one_line(done.stderr, "--steps 0")
