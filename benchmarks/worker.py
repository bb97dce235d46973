"""The fresh process of `measure.run_fresh`: `python -m benchmarks.worker SPEC` with SPEC in JSON."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Job, NotRun, memory


def work(spec: dict[str, Any]) -> dict[str, Any]:
    """Does what the spec says; returns the fields of `measure.Run`."""
    if spec["cores"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec["cores"]])
    module, _, function = spec["job"].partition(":")
    prepare = getattr(importlib.import_module(module), function)
    try:
        version = importlib.metadata.version(spec["distribution"])
        job: Job = prepare(**spec["arguments"])
    except importlib.metadata.PackageNotFoundError:
        return {"absent": "not installed"}
    except NotRun as reason:
        return {"version": version, "absent": str(reason)}
    base, _ = memory()
    start = time.perf_counter()
    result = job.run()
    seconds = time.perf_counter() - start
    _, peak = memory()
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "base_bytes": base,
        "version": version,
        "outcome": job.outcome(result) if spec["want_outcome"] else None,
    }


if __name__ == "__main__":
    _spec = json.loads(sys.argv[1])
    Path(_spec["result"]).write_text(json.dumps(work(_spec)))
