"""Threads that wait by sleeping: other processes' work costs no more than the cores it takes.

torch divides a product among OpenMP's threads, which meet at a barrier after each. By default the
threads that arrive first spin there for a while. On a core that they share, they so keep the thread
that they wait for from running: beside one busy process on two cores training fell to a fifth of
its speed, and keeps more than a third when they sleep. On a quiet machine sleeping costs nothing
that could be measured.

The runtime that torch has on Linux, libgomp, reads how to wait when it is loaded. So
`bytemill.lm` imports torch with OMP_WAIT_POLICY=PASSIVE, unless a variable of the environment says
how to wait (`VARIABLES`), or torch was imported before. For that case there is `wait_briefly`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from pathlib import Path
from typing import Final

VARIABLES: Final = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What a person sets to decide how threads wait; if one is set, nothing here changes that."""

MOST_THREADS: Final = 1024
"""Of the CPU; with very many torch does not return."""

_KEPT: Final[dict[int, threading.Thread]] = {}
"""By process: the thread that `wait_briefly` keeps."""
_LOCK: Final = threading.Lock()
_SLEEPING: Final[list[bool]] = []
"""Not empty if torch was imported with the policy."""


def import_torch() -> None:
    """Imports torch, if it was not, so that its threads sleep while they wait."""
    if "torch" in sys.modules or _is_decided():
        importlib.import_module("torch")
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        importlib.import_module("torch")
        _SLEEPING.append(True)
    finally:
        # Programs that are started from this one have their own wishes.
        del os.environ["OMP_WAIT_POLICY"]


def wait_briefly() -> None:
    """Makes threads wait by sleeping if torch was imported before they could be told to.

    Where libgomp has more threads than there are cores it lets them spin for some microseconds
    instead of milliseconds (`gomp_throttled_spin_count_var`, libgomp/config/linux/wait.h). So a
    thread is started that has OpenMP threads of its own, of which none ever computes again. Intel's
    and LLVM's runtimes have a function for the purpose. Whatever trains, generates or evaluates
    calls this; calling it again does nothing.
    """
    import torch

    if _is_decided():
        return
    with _LOCK:
        if os.getpid() in _KEPT:  # in a forked process the thread is not there
            return
        for runtime in sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*")):
            if "gomp" not in runtime.name:
                _set_blocktime(runtime)
        if _SLEEPING:
            return
        ready = threading.Event()
        keeper = threading.Thread(target=_keep, args=(ready,), name="omp-keeper", daemon=True)
        _KEPT[os.getpid()] = keeper
        keeper.start()
        ready.wait()


def _is_decided() -> bool:
    return any(name in os.environ for name in VARIABLES)


def _keep(ready: threading.Event) -> None:
    """Has torch's number of OpenMP threads once, and keeps them by never ending."""
    import torch

    try:
        torch.ones(1 << 17).add_(1)  # more than 2^15 elements are divided among threads
    finally:
        ready.set()
    threading.Event().wait()


def _set_blocktime(runtime: Path) -> None:
    """Tells a KMP runtime to let threads sleep at once; for the calling thread's team."""
    try:
        ctypes.CDLL(str(runtime)).kmp_set_blocktime(0)
    except (AttributeError, OSError):  # another library of such a name
        return
