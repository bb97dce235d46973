"""Threads that wait do not spin, whoever imports torch first."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

LIBGOMP = sys.platform == "linux" and "libgomp" in "".join(
    os.listdir(os.path.join(os.path.dirname(torch.__file__), "lib"))  # noqa: PTH118, PTH120, PTH208
)
needs_libgomp = pytest.mark.skipif(
    not LIBGOMP or len(os.sched_getaffinity(0)) < 2,
    reason="torch has another OpenMP runtime here, or there is one core: no thread spins",
)

# CPU seconds that threads use up by waiting: the main thread has work now and then, and between
# it sleeps. Two threads, whatever the machine.
PROGRAM = """
import sys, time
{first}
import torch
import bytemill.lm
from bytemill.lm.device.threads import wait_briefly
torch.set_num_threads(2)
{then}
x = torch.ones(1 << 16)
for _ in range(20):
    x.add_(1)
began = time.process_time()
for _ in range(100):
    x.add_(1)
    time.sleep(0.002)
print(time.process_time() - began)
"""
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


def cpu_seconds(first="", then="", **environment):
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first, then=then)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def spinning():
    """As libgomp does it by itself."""
    return cpu_seconds("import torch")


def holds(compare):
    """Whether it does in one of ten tries: other programs take the cores of threads that spin."""
    return any(compare() for _ in range(10))


@needs_libgomp
@pytest.mark.parametrize(
    ("first", "then"),
    [("import bytemill.lm", ""), ("import torch", "wait_briefly()")],
    ids=["bytemill first", "torch first"],
)
def test_waiting_costs_little(first, then):
    assert holds(lambda: cpu_seconds(first, then) < spinning() / 2)


@needs_libgomp
def test_who_says_how_to_wait_is_heard():
    def is_heard():
        chosen = cpu_seconds("import bytemill.lm", "wait_briefly()", OMP_WAIT_POLICY="ACTIVE")
        return chosen > spinning() / 2

    assert holds(is_heard)


def test_the_environment_stays_as_it_was():
    program = "import os; a = dict(os.environ); import bytemill.lm; assert dict(os.environ) == a"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_one_keeper():
    program = """
import threading, torch
from bytemill.lm.device.threads import wait_briefly
for _ in range(3):
    wait_briefly()
print([thread.name for thread in threading.enumerate()])
"""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['MainThread', 'omp-keeper']\n"
