"""Runs programs that a model has written, behind walls, and tells what came of it."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

Walls = Literal["namespaces", "bubblewrap", "none"]

_START_SECONDS: Final = 60.0
"""How long a busy machine may take to build the walls; this time is not the program's."""

_FOLDER: Final = str(Path(__file__).parent)
# Makes the modules of this folder importable under their names without importing the package.
_BOOT: Final = """
import sys, types
for name in ("bytemill", "bytemill.tools", "bytemill.tools.sandbox"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
sys.modules["bytemill.tools.sandbox"].__path__ = [sys.argv[1]]
from bytemill.tools.sandbox import inside
inside.main()
"""


class SandboxUnavailable(RuntimeError):
    """There is no way to isolate a program on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Raises:
        ValueError: A limit is not above 0, or too large to be one.
    """

    seconds: float = 5.0
    """Of wall time, from when it is behind its walls; and a second more of processor time."""
    memory_bytes: int = 512 << 20
    """Of address space, for each of its processes."""
    disk_bytes: int = 16 << 20
    """In /tmp, which is in memory and all that there is to write to."""
    output_bytes: int = 64 << 10
    """What is kept of what it prints; a program that prints more is ended."""
    processes: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = 1 << (30 if name == "seconds" else 40)  # what the system can be told
            if not 0 < value <= most:
                raise ValueError(f"{name}={value!r}: it must be above 0, up to {most:,}")


@dataclass(frozen=True)
class Outcome:
    """What came of a program."""

    passed: bool
    """Whether the tests said so themselves. Without tests: whether it ended with status 0, which is
    what the program says of itself."""
    reason: Literal["passed", "failed", "time", "output"]
    """Why it is over: it passed, it failed, or it had to be ended."""
    output: str
    """What it printed, or the beginning of it."""
    seconds: float
    """From start to verdict."""


def run_program(
    program: str,
    *,
    limits: Limits = Limits(),
    unsafe: bool = False,
) -> Outcome:
    """Runs a Python program by itself, with Python's library and nothing else.

    Args:
        program: Its source.
        limits: What it may use.
        unsafe: Run it even where it cannot be isolated.

    Raises:
        SandboxUnavailable: It cannot be isolated here.
    """
    request = {"role": "program", "program": program}
    return _run([request], limits, _walls(unsafe))


def passes_tests(
    program: str,
    tests: str,
    entry_point: str,
    *,
    setup: str = "",
    limits: Limits = Limits(),
    unsafe: bool = False,
) -> Outcome:
    """Runs tests of a program's function, as HumanEval has them.

    The tests are in a sandbox of their own. They call the function in the program's and get plain
    data back; see `bytemill.tools.sandbox.roles`.

    Args:
        program: Source that defines `entry_point`.
        tests: Source that defines `check(candidate)`, which raises if the candidate is wrong.
        entry_point: The function's name.
        setup: Source that the tests need: what was defined before the function.
        limits: What each of the two may use.
        unsafe: Run it even where it cannot be isolated.

    Raises:
        SandboxUnavailable: It cannot be isolated here.
    """
    requests = [
        {"role": "program", "program": program, "entry_point": entry_point},
        {"role": "tests", "tests": tests, "setup": setup, "entry_point": entry_point},
    ]
    return _run(requests, limits, _walls(unsafe))


def _walls(unsafe: bool) -> Walls:
    found = available()
    if found is not None:
        return found
    if unsafe:
        return "none"
    raise SandboxUnavailable(f"a program cannot be isolated here: {_why_not()}; on Linux, allow "
        "unprivileged user namespaces or install bubblewrap; unsafe=True (--unsafe) runs it as "
        "any program of yours, with limits only")  # fmt: skip


@lru_cache(maxsize=1)
def _try() -> tuple[Walls | None, str]:
    if sys.platform != "linux":
        return None, f"{sys.platform} has no namespaces"
    reasons = []
    walls: list[Walls] = ["namespaces"]
    if shutil.which("bwrap"):
        walls.append("bubblewrap")
    for kind in walls:
        found = _run([{"role": "program", "program": ""}], Limits(seconds=60), kind, probe=True)
        if found.passed:
            return kind, ""
        reasons.append(found.output.strip() or "it did not start")
    return None, "; ".join(reasons)


def available() -> Walls | None:
    """How programs are isolated on this machine; None if they cannot be."""
    return _try()[0]


def _why_not() -> str:
    return _try()[1]


@lru_cache(maxsize=1)
def _shown() -> tuple[list[str], list[str]]:
    """Folders that a program sees, and those within them that are to look empty."""
    paths = sysconfig.get_paths()
    library = {paths["stdlib"], paths["platstdlib"]}
    base = {
        p.replace(sys.prefix, sys.base_prefix, 1) if sys.prefix != sys.base_prefix else p
        for p in library
    }
    folders = {p for p in base | library if Path(p, "os.py").is_file()}
    # The libraries that Python itself is made of, and their neighbours, for its extensions.
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            name = os.path.basename(path)
            if name.startswith(("libc.", "libc-", "libpython", "libm.", "ld-")) and ".so" in name:
                folders.add(os.path.dirname(path))
    hidden = [
        str(Path(folder, name))
        for folder in folders
        for name in ("site-packages", "dist-packages")
        if Path(folder, name).is_dir()
    ]
    ordered = sorted(folders, key=len)
    outer = [f for f in ordered if not any(f != o and Path(o) in Path(f).parents for o in ordered)]
    return outer, hidden


def _command(walls: Walls, fds: list[int]) -> list[str]:
    python = os.path.realpath(sys.executable)
    boot = [python, "-I", "-S", "-c", _BOOT, _FOLDER]
    if walls != "bubblewrap":
        return boot
    folders, hidden = _shown()
    shown = [*folders, _FOLDER, os.path.dirname(python)]
    shown += [p for p in ("/lib", "/lib64", "/usr/lib") if os.path.isdir(p)]
    bwrap = shutil.which("bwrap") or "bwrap"
    command = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--hostname", "sandbox", "--dev", "/dev", "--tmpfs", "/tmp"]
    for folder in shown:
        command += ["--ro-bind", folder, folder]
    for folder in hidden:
        command += ["--tmpfs", folder, "--remount-ro", folder]
    command += ["--remount-ro", "/"]
    for name in ("uid", "gid"):
        command += [f"--{name}", "65534"]
    return [*command, "--", *boot]


def _run(
    requests: list[dict[str, Any]], limits: Limits, walls: Walls, *, probe: bool = False
) -> Outcome:
    began = time.perf_counter()
    with ExitStack() as held:
        pipes = [held.enter_context(_pipe()) for _ in range(2 + len(requests))]
        verdict, output, *states = pipes
        channels: list[socket.socket | None] = [None]
        if len(requests) > 1:
            pair = socket.socketpair()
            channels = [held.enter_context(end) for end in pair]
        nonce = secrets.token_bytes(32)
        running = []
        for request, channel, state in zip(requests, channels, states, strict=True):
            is_tests = request["role"] == "tests"
            fds = [state.write]
            request = {**_settings(limits, walls), **request, "status_fd": state.write}
            request["channel_fd"] = None
            if channel is not None:
                request["channel_fd"] = channel.fileno()
                fds.append(channel.fileno())
            if is_tests:
                request |= {"nonce": nonce.hex(), "verdict_fd": verdict.write}
                fds.append(verdict.write)
            printed = subprocess.DEVNULL if is_tests else output.write
            process = held.enter_context(_process(_command(walls, fds), fds, printed))
            running.append(process)
            _give(process, request)
        for pipe in pipes:
            pipe.close_write()
        for channel in channels:
            if channel is not None:
                channel.close()
        wanted = nonce if len(requests) > 1 else None
        _wait_for([state.read for state in states])
        deadline = time.perf_counter() + limits.seconds
        watched = _watch(running, verdict, output, wanted, deadline, limits)
        if watched == "failed" and time.perf_counter() > deadline:
            watched = "time"  # the system may have ended it before this process saw how late it is
        said = [os.read(state.read, 4096).decode("utf-8", "replace") for state in states]
        refused = [text for text in said if text != "in"]
        if refused and not probe and watched != "time":
            raise SandboxUnavailable(
                f"a program could not be isolated: {refused[0] or 'it did not start'}"
            )
        printed_text = bytes(output.kept).decode("utf-8", "replace")
        passed = watched == "passed"
        if probe:
            passed, printed_text = passed and not refused, "".join(refused)
        seconds = time.perf_counter() - began
        return Outcome(passed, watched, printed_text, seconds)


def _settings(limits: Limits, walls: Walls) -> dict[str, Any]:
    shown, hidden = _shown() if walls == "namespaces" else ([], [])
    return {
        "walls": walls,
        "shown": shown,
        "hidden": hidden,
        # Any folder that is there will do: the new root hides it from the program alone.
        "mount_point": os.path.realpath(tempfile.gettempdir()),
        "seconds": limits.seconds,
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "processes": limits.processes,
    }


class _Pipe:
    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.kept = bytearray()
        self._is_open = True

    def close_write(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self.write)


@contextmanager
def _pipe() -> Iterator[_Pipe]:
    pipe = _Pipe()
    try:
        yield pipe
    finally:
        pipe.close_write()
        os.close(pipe.read)


@contextmanager
def _process(command: list[str], fds: list[int], output: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        pass_fds=fds,
        close_fds=True,
        env={},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # Without walls its children are in its session, if they have not left it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()


def _give(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    if process.stdin is None:
        return
    try:
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it has ended; what it said tells why


def _wait_for(states: list[int]) -> None:
    """Waits until all are behind their walls, or have ended."""
    until = time.perf_counter() + _START_SECONDS
    with selectors.DefaultSelector() as selector:
        for state in states:
            selector.register(state, selectors.EVENT_READ)
        while selector.get_map() and (left := until - time.perf_counter()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fd)


def _watch(
    running: list[subprocess.Popen[bytes]],
    verdict: _Pipe,
    output: _Pipe,
    nonce: bytes | None,
    deadline: float,
    limits: Limits,
) -> Literal["passed", "failed", "time", "output"]:
    """Waits for the verdict, and keeps what is printed meanwhile."""
    with selectors.DefaultSelector() as selector:
        selector.register(verdict.read, selectors.EVENT_READ, verdict)
        selector.register(output.read, selectors.EVENT_READ, output)
        while selector.get_map():
            left = deadline - time.perf_counter()
            events = selector.select(max(left, 0))
            if not events and left <= 0:
                return "time"
            for key, _ in events:
                pipe = key.data
                data = os.read(pipe.read, 1 << 16)
                if not data:
                    selector.unregister(pipe.read)
                    continue
                pipe.kept += data
                if pipe is verdict and nonce is not None and bytes(pipe.kept) == nonce:
                    return "passed"
                if len(pipe.kept) > limits.output_bytes:
                    del pipe.kept[limits.output_bytes :]
                    return "output"
            # The tests' end of the verdict is closed when they are over.
            if nonce is not None and verdict.read not in {
                k.fd for k in selector.get_map().values()
            }:
                return "failed"
    try:
        status = running[0].wait(max(deadline - time.perf_counter(), 0))
    except subprocess.TimeoutExpired:
        return "time"
    return "passed" if nonce is None and status == 0 else "failed"
