"""Ctrl-C while torch computes: an answer at once, and an end."""

import signal
import subprocess
import sys
import threading

import pytest

pytest.importorskip("torch")

from bytemill.lm.train import interrupts as module
from bytemill.lm.train.interrupts import interrupts

# A call of C that does not come back to Python until a line is written to the program, as torch's
# may not for seconds. No thread takes over from another unless that one is in C: who prints "ready"
# does so during the call. The module is loaded by itself: its package would take seconds for torch,
# which this does without.
PROGRAM = """
import ctypes, runpy, sys, threading

interrupts = runpy.run_path(sys.argv[1])["interrupts"]
sys.setswitchinterval(1000)
system = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(256)
system.pthread_mutex_init(mutex, None)
system.pthread_mutex_lock(mutex)
begun = threading.Event()

def release():
    begun.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    system.pthread_mutex_unlock(mutex)

threading.Thread(target=release, daemon=True).start()
try:
    with interrupts(lambda: print("stop", flush=True), lambda n: print("told", n, flush=True)):
        begun.set()
        system.pthread_mutex_lock(mutex)
        print("returned", flush=True)
    print("left", flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


def hear():
    """What tests were started by may have set signals to be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def lines_after(*groups):
    """What the program prints when it gets groups of signals, each after the answer to the last."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, module.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear,
    ) as process:
        lines = [process.stdout.readline().strip()]
        for numbers in groups:
            for number in numbers:
                process.send_signal(number)
            lines.append(process.stdout.readline().strip())
        out, _ = process.communicate("go on\n", timeout=600)
        assert process.returncode == 0
        return lines + out.splitlines()


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 0)])
def test_the_answer_does_not_wait(number):
    assert lines_after([number]) == ["ready", "told 1", "stop", "returned", "left"]


@needs_signals
def test_two_presses_during_one_call_end_it():
    # Python sees one signal where two came.
    lines = lines_after([signal.SIGINT], [signal.SIGINT])
    assert lines == ["ready", "told 1", "told 2", "stop", "KeyboardInterrupt"]


@needs_signals
def test_requests_to_save_may_come_twice_and_a_press_after_them_is_the_first():
    again = [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM]  # the system gives lower numbers first
    lines = lines_after([signal.SIGHUP], again)
    assert lines[:3] == ["ready", "told 1", "told 1"]
    assert lines[-2:] == ["returned", "left"]
    assert set(lines[3:-2]) == {"stop"}


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
