"""Out of memory, as Python sees it: MemoryError, nothing lost, no abort, no hang.

`rust/tests/memory` refuses single allocations; here the system does, under a limit of the address
space. `python -m tests.support.memory_limits 1 2 3` tries other limits.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.vocabularies import ROOT

# Above what the process uses, or has mapped; see `tests.support.memory_limits`.
LIMITS = ("resident", "1", "8")

if not importlib.util.find_spec("resource") or not Path("/proc/self/statm").exists():
    pytest.skip("only Linux limits the address space and tells it", allow_module_level=True)


ALLOWED = {"right", "MemoryError, then right"}


def run(*words: str, **environment: str) -> dict[str, dict[str, str]]:
    """What happened, by surface and limit."""
    pytest.importorskip("numpy", reason="numpy is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.memory_limits", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    return run(
        *LIMITS,
        # Large allocations come from the system, and go back to it; a process that has run for a
        # while has free memory, which would hide what is asked for. So would what is mapped for
        # the heaps of threads.
        MALLOC_MMAP_THRESHOLD_="65536",
        MALLOC_ARENA_MAX="1",
        # A panic that looks for names of functions must not hang either.
        RUST_BACKTRACE="1",
    )


def test_each_call_is_right_or_refused(outcomes: dict[str, dict[str, str]]) -> None:
    others = {
        f"{surface}, {limit}": outcome
        for surface, by_limit in outcomes.items()
        for limit, outcome in by_limit.items()
        if outcome not in ALLOWED
    }
    assert not others
    assert len(outcomes) > 45


def test_the_limits_are_felt(outcomes: dict[str, dict[str, str]]) -> None:
    # How much a batch takes depends on how many threads have begun.
    refused = {s for s, by_limit in outcomes.items() if set(by_limit.values()) != {"right"}}
    older = {"encode", "encode_batch", "encode_with_offsets", "decode", "feed", "train"}
    assert older | {"normalizing", "splits of bytes", "superwords"} <= refused


def test_encode_iterable_takes_a_megabyte_at_most(outcomes: dict[str, dict[str, str]]) -> None:
    """CS336's test of it, from the first token on."""
    assert outcomes["encode_iterable"]["1"] == "right"


def test_threads_begin_before_memory_is_used_up() -> None:
    """A stack is mapped, and the calling thread takes the rest while the other one starts."""
    limits = [f"{2 + tenths / 10}" for tenths in range(0, 21, 2)]
    outcomes = run(*limits, "--only=feed_files", "--only=feed")
    assert outcomes.keys() == {"feed_files", "feed"}
    assert all(set(by_limit.values()) <= ALLOWED for by_limit in outcomes.values()), outcomes
