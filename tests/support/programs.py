"""Programs, run as a user runs them: in a process of their own, or through `bytemill`'s door."""

import contextlib
import os
import re
import signal
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


def interrupted(words, pipe, has_begun):
    """Ctrl-C for a program that reads a pipe without an end, `TEXT` again and again.

    Args:
        words: What starts the program.
        pipe: It does not exist yet.
        has_begun: Whether the program is at work, by how often it was written to the pipe.

    Returns:
        Status, stdout and stderr.
    """
    os.mkfifo(pipe)
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell may have set Ctrl-C to be ignored by what it runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with pipe.open("wb", buffering=0) as writer:
        n = 0
        while not has_begun(n):
            writer.write(TEXT.encode())
            n += 1
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(BrokenPipeError):
            for _ in range(1000):
                writer.write(TEXT.encode())
    out, err = process.communicate(timeout=300)
    return process.returncode, out, promptly(err)


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
