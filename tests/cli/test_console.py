"""Messages in the words of the command line, streams that break, and Ctrl-C."""

import argparse
import io
import os
import signal
import subprocess
import sys

import pytest

from bytemill.cli.command import explained
from bytemill.cli.console import inputs, messages
from bytemill.cli.console.messages import in_flags
from bytemill.cli.console.streams import Guarded, OutputClosed, guarded, tell
from tests.support.programs import ROOT, is_one_line, promptly


@pytest.fixture
def flags():
    parser = argparse.ArgumentParser(prog="x")
    for flag in (
        "vocab-size",
        "threads",
        "special",
        "val-fraction",
        "errors",
        "memory",
        "pattern",
        "prompt",
    ):
        parser.add_argument("--" + flag)
    parser.add_argument("--tied", action=argparse.BooleanOptionalAction)
    messages.speak_as(parser)
    yield
    messages.speak_as(argparse.ArgumentParser(add_help=False))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vocab_size=3 is too small", "--vocab-size 3 is too small"),
        ("num_threads=0: it must be", "--threads 0: it must be"),
        ("special_tokens[1]='': empty", "--special '': empty"),
        ("special_tokens=['a b', 'c'] instead of", "--special 'a b' c instead of"),
        ("validation_fraction=2.0: it", "--val-fraction 2.0: it"),
        ('or pass errors="replace" to read', "or pass --errors replace to read"),
        ("tied=False: no", "--no-tied: no"),
        ("tied=True: no", "--tied: no"),
        ("pattern=None: one is needed", "no --pattern: one is needed"),
        ("pass pattern=, a name", "pass --pattern, a name"),
        ("memory_bytes=2000000000.0: less", "--memory 2: less"),
        ("run.vocab_size=3 is too small", "--vocab-size 3 is too small"),
        ("special_tokens[0] is twice there", "--special is twice there"),
        ("prompts[2] has 30 tokens", "the prompt has 30 tokens"),
        ("q[0][1] is a list", "q[0][1] is a list"),
        # What is no argument, or has no flag here.
        ("/data/pattern=3/x.txt: gone", "/data/pattern=3/x.txt: gone"),
        ("d_model=3: too small", "d_model=3: too small"),
        ("expected NAME=PATH", "expected NAME=PATH"),
        ("call again to go on", "run the same command again to go on"),
        (
            "step 8; resume it, or choose another folder",
            "step 8; add --resume to go on with it, or name another folder",
        ),
    ],
)
def test_messages_name_flags(theirs, ours, flags):
    assert in_flags(theirs) == ours


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate\nmemory"),
    ],
)
def test_too_little_memory_is_one_line(error):
    assert explained(error).startswith("out of memory; ask for less")
    assert "\n" not in explained(error)
    assert explained(RuntimeError("anything else")) is None


class Broken(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error, self.writes = error, 0

    def write(self, text):
        self.writes += 1
        raise self.error


def test_a_stream_that_breaks_is_told_once():
    stream = Broken(BrokenPipeError())
    guard = Guarded(stream, stops=False)
    guard.write("a")
    guard.write("b")
    assert isinstance(guard.failure, BrokenPipeError) and stream.writes == 1
    guard = Guarded(Broken(BrokenPipeError()), stops=True)
    with pytest.raises(OutputClosed):
        guard.write("a")
    guard.write("a")
    with pytest.raises(OSError, match="no room"):
        Guarded(Broken(OSError(28, "no room")), stops=True).write("a")


def test_streams_are_as_they_were_afterwards(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    with guarded(stops=True):
        assert sys.stdout is not stream
        print("é")
    assert sys.stdout is stream and stream.errors == "strict"
    assert stream.buffer.getvalue() == b"\\xe9\n"


def test_stdin_is_named_in_place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")  # where stdin is written to a file first
    stdin = io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    with inputs.named(["a.txt", "-"], "jsonl") as (first, second):
        assert first == "a.txt" and second.endswith(".jsonl")
        with open(second, "rb") as file:  # noqa: PTH123
            assert file.read() == b'{"text": "a"}\n'
        assert in_flags(f"{second}:1: bad") == "stdin:1: bad"
    assert not os.path.exists(second)  # noqa: PTH110
    with (
        pytest.raises(ValueError, match=r"--format jsonl: .* add -"),
        inputs.named(["a.txt"], "jsonl"),
    ):
        pass


STUCK = """
import sys, time
from bytemill.cli import main
from bytemill.cli.command import explained
from bytemill.cli.console import programs
module = __import__("bytemill.cli.tok_train", fromlist=["main"])
def work():
    try:
        print("ready", flush=True)
        time.sleep(300)
    finally:
        time.sleep({after})
module.main = lambda argv: main.exit_status(work, "no tokenizer was written")
sys.exit(main.main(["tok-train", "--vocab-size", "300", "--out", "x"]))
"""


def interrupted(words, presses, wait_for="ready"):
    """Presses Ctrl-C so often; status and stderr."""
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell may have set Ctrl-C to be ignored by what it runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while wait_for not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    told = process.stderr.readline()
    for _ in range(presses - 1):
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=250)  # less than it would sleep
    return process.returncode, told + err


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
class TestCtrlC:
    def test_what_stops_at_once_says_one_line(self):
        words = [sys.executable, "-c", STUCK.format(after=0)]
        status, err = interrupted(words, 1)
        assert status == 130
        is_one_line(promptly(err), "interrupted: no tokenizer was written")

    def test_what_takes_longer_says_so_and_a_second_press_ends_it(self):
        words = [sys.executable, "-c", STUCK.format(after=300)]
        status, err = interrupted(words, 2)
        assert status == -signal.SIGINT  # which a shell shows as 130
        is_one_line(err, "stopping; press Ctrl-C again to end at once")


def test_a_line_is_written_in_one_piece(monkeypatch):
    """What another thread says may stand before or after a line, but not in it."""
    written = []
    stream = io.StringIO()
    monkeypatch.setattr(stream, "write", lambda text: written.append(text) or len(text))
    monkeypatch.setattr("sys.stderr", stream)
    tell("interrupted: what has come is kept")
    assert [text for text in written if text] == ["interrupted: what has come is kept\n"]
