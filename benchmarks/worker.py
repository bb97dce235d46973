"""The fresh process of `measure.run_fresh`: `python -m benchmarks.worker SPEC`, SPEC being JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.job import Job, NotRun, memory


def installed(distribution: str) -> str | None:
    """The version of a package, or None."""
    # Not at the top: it would take megabytes before the peak is read.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def work(spec: dict[str, Any]) -> dict[str, Any]:
    """Does what the spec says; returns the fields of `measure.Run`."""
    if spec["cores"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec["cores"]])
    module, _, function = spec["job"].partition(":")
    prepare = getattr(importlib.import_module(module), function)
    try:
        job: Job = prepare(**spec["arguments"])
    except NotRun as reason:
        return {"version": installed(spec["distribution"]), "absent": str(reason)}
    except ImportError:
        if installed(spec["distribution"]) is None:
            return {"absent": "not installed"}
        raise
    base, _ = memory()
    start = time.perf_counter()
    result = job.run()
    seconds = time.perf_counter() - start
    _, peak = memory()
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "base_bytes": base,
        "version": installed(spec["distribution"]),
        "outcome": job.outcome(result) if spec["want_outcome"] else None,
    }


if __name__ == "__main__":
    _spec = json.loads(sys.argv[1])
    with open(_spec["result"], "w") as _file:  # noqa: PTH123
        json.dump(work(_spec), _file)
