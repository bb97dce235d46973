"""What a worker process does; a module of its own, so that the process stays small."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class NotRun(Exception):
    """A library cannot do a job by design; the message says why. Not a failure."""


class Job(NamedTuple):
    """A library, ready to work."""

    run: Callable[[], Any]
    """Timed."""
    outcome: Callable[[Any], Any]
    """Makes JSON of what `run` returned, for comparisons; untimed, after the peak was read."""


def memory() -> tuple[int | None, int | None]:
    """Resident memory of this process, now and at its peak, in bytes; None where unknown."""
    # Not ru_maxrss on Linux: a child starts with its parent's.
    try:
        with open("/proc/self/status") as file:  # noqa: PTH123
            fields = dict(line.split(":", 1) for line in file)
        now, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return now, peak
    except (OSError, KeyError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None, None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None, peak if sys.platform == "darwin" else peak * 1024
