"""`import bytemill` is cheap and does nothing but import."""

import subprocess
import sys

PROGRAM = """
import sys, threading
import bytemill, bytemill.data
heavy = {"torch", "numpy", "tiktoken", "tokenizers", "pyarrow", "zstandard",
         "pickle", "importlib.metadata"}
print(sorted(heavy & set(sys.modules)), threading.active_count(), bytemill.__version__)
"""


def test_import_is_cheap():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] 1 ")
    assert done.stderr == ""


def test_public_names():
    import bytemill.data

    assert bytemill.__all__ == ["BpeTrainer", "Counts", "Tokenizer", "__version__", "train_bpe"]
    for name in bytemill.__all__:
        assert getattr(bytemill, name)
    for room in (bytemill.tokenizer, bytemill.data):
        for name in room.__all__:
            assert getattr(room, name)
