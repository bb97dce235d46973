"""Programs, run as a user runs them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPECIAL = "<|endoftext|>"
TEXT = SPECIAL.join(
    f"document {i}: low lower lowest, new newer newest {i % 7}\n" for i in range(2000)
)


def run(*args, module="scripts.tok_train"):
    command = [sys.executable, "-m", module, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def is_one_line(text, *words):
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    for word in words:
        assert str(word) in text
