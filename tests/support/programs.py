"""Programs, run as a user runs them: in a process of their own, or through `bytemill`'s door."""

import re
import subprocess
import sys
from pathlib import Path

from bytemill.cli.main import main

ROOT = Path(__file__).parents[2]
SPECIAL = "<|endoftext|>"
TEXT = SPECIAL.join(
    f"document {i}: low lower lowest, new newer newest {i % 7}\n" for i in range(2000)
)


# Lines that a program writes to stderr only where something takes seconds: how far it is, and that
# it has heard Ctrl-C.
_SLOWLY = re.compile(
    r"^(?:\w[\w ]*: +\d+%  .*|stopping; press Ctrl-C again to end at once)\n", re.MULTILINE
)


def promptly(text):
    """What a program says on stderr on a machine that is not busy."""
    return _SLOWLY.sub("", text)


def command(*args):
    """The words that start `bytemill` in a process of its own."""
    return [sys.executable, "-m", "bytemill", *map(str, args)]


def run(*args, **options):
    """Runs `bytemill` to its end in a process of its own."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 600, **options}
    done = subprocess.run(command(*args), **options)
    if isinstance(done.stderr, bytes):
        done.stderr = promptly(done.stderr.decode()).encode()
    elif done.stderr is not None:
        done.stderr = promptly(done.stderr)
    return done


def call(capsys, *args):
    """Runs `bytemill` in this process; returns its status, stdout and stderr."""
    status = main([str(argument) for argument in args])
    out, err = capsys.readouterr()
    return status, out, promptly(err)


def is_one_line(text, *words):
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    for word in words:
        assert str(word) in text
