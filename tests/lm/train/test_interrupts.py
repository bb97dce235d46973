"""Ctrl-C while torch computes: an answer at once, and an end."""

import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("torch")

from bytemill.lm.train.interrupts import interrupts

# A call of C that takes seconds and does not come back to Python meanwhile, as torch's may.
PROGRAM = """
import hashlib, time
from bytemill.lm.train.interrupts import interrupts

def busy(n):
    hashlib.pbkdf2_hmac("sha256", b"", b"", n)

began = time.perf_counter()
busy(100_000)
n = int(3 * 100_000 / (time.perf_counter() - began))
try:
    with interrupts(lambda: print("stop", flush=True), lambda n: print("told", n, flush=True)):
        print("ready", flush=True)
        busy(n)
        print("returned", flush=True)
    print("left", flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


def lines_after(*numbers):
    """What the program prints when it gets signals, each after the answer to the one before."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        lines = [process.stdout.readline().strip()]
        time.sleep(0.5)  # the call has begun, and takes much longer
        for number in numbers:
            process.send_signal(number)
            lines.append(process.stdout.readline().strip())
        return lines + process.stdout.read().split("\n")[:-1]


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 0)])
def test_the_answer_does_not_wait(number):
    assert lines_after(number) == ["ready", "told 1", "stop", "returned", "left"]


@needs_signals
def test_two_presses_during_one_call_end_it():
    # Python sees one signal where two came.
    lines = lines_after(signal.SIGINT, signal.SIGINT)
    assert lines == ["ready", "told 1", "told 2", "stop", "KeyboardInterrupt"]


@needs_signals
def test_requests_to_save_may_come_twice_and_a_press_after_them_is_the_first():
    numbers = [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stdout.readline().strip()]
        time.sleep(0.3)
        for number in [*numbers[:2], *numbers[:2], numbers[2]]:
            process.send_signal(number)
            time.sleep(0.1)
        lines += process.stdout.read().split("\n")[:-1]
    assert process.returncode == 0
    assert lines[0] == "ready" and lines[-2:] == ["returned", "left"]
    assert [line for line in lines if line.startswith("told")] == ["told 1", "told 1"]
    assert "stop" in lines


@needs_signals
def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stops = []
    try:
        with interrupts(lambda: stops.append(1), lambda n: None):
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stops == []


def test_what_was_set_before_comes_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fd = signal.set_wakeup_fd(-1)
    threads = threading.active_count()
    with interrupts(lambda: None, lambda n: None):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(fd) == -1
    assert threading.active_count() == threads
