"""Programs, run as a user runs them: in a process of their own, or through `bytemill`'s door."""

import subprocess
import sys
from pathlib import Path

from bytemill.cli.main import main

ROOT = Path(__file__).parents[2]
SPECIAL = "<|endoftext|>"
TEXT = SPECIAL.join(
    f"document {i}: low lower lowest, new newer newest {i % 7}\n" for i in range(2000)
)


def command(*args):
    """The words that start `bytemill` in a process of its own."""
    return [sys.executable, "-m", "bytemill", *map(str, args)]


def run(*args, **options):
    """Runs `bytemill` to its end in a process of its own."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run(command(*args), **options)


def call(capsys, *args):
    """Runs `bytemill` in this process; returns its status, stdout and stderr."""
    status = main([str(argument) for argument in args])
    return status, *capsys.readouterr()


def is_one_line(text, *words):
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    for word in words:
        assert str(word) in text
