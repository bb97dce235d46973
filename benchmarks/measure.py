"""Work in a fresh process: its time, its peak memory, its result; and the spread over several.

A job is named "module:function". In the new process, the function gets the arguments and returns
a `benchmarks.job.Job`; only `Job.run` is timed, so that imports and preparation are not. See
`benchmarks.worker`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """What one process did."""

    seconds: float | None = None
    """Wall-clock seconds of `Job.run`."""
    peak_bytes: int | None = None
    """Peak resident memory of the process up to the end of `Job.run`: interpreter, library, work,
    and the pages of mapped files."""
    base_bytes: int | None = None
    """Resident memory just before `Job.run`: interpreter and library."""
    version: str | None = None
    """The library's version."""
    absent: str | None = None
    """Why the job was not run (library not installed, or unable by design)."""
    error: str | None = None
    """Why it failed."""
    outcome: Any = None
    """What `Job.outcome` returned, where it was asked for."""


def run_fresh(
    job: str,
    arguments: Mapping[str, Any],
    *,
    distribution: str,
    cores: int | None = None,
    timeout: float = 3600.0,
    want_outcome: bool = False,
) -> Run:
    """Runs a job in a new interpreter.

    `distribution` is the package whose version is reported. `cores` limits the process to so many
    cores (by affinity, where the system has that) and the libraries' thread pools to as many
    threads. Never raises for what the job does: see `Run.absent` and `Run.error`.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = Path(folder, "result.json")
        spec = {
            "job": job,
            "arguments": dict(arguments),
            "distribution": distribution,
            "cores": cores,
            "want_outcome": want_outcome,
            "result": str(result),
        }
        env = dict(os.environ, TOKENIZERS_PARALLELISM="true")
        if cores is not None:
            env["RAYON_NUM_THREADS"] = str(cores)
        with Path(folder, "stderr").open("w+b") as stderr:
            try:
                process = subprocess.run(
                    [sys.executable, "-m", "benchmarks.worker", json.dumps(spec)],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # some libraries print
                    stderr=stderr,
                    timeout=timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Run(error=f"stopped after {timeout:g} s")
            stderr.seek(0)
            lines = stderr.read().decode(errors="replace").strip().splitlines()
        if process.returncode != 0 or not result.exists():
            how = f"signal {-process.returncode}" if process.returncode < 0 else "exit status"
            how += f" {process.returncode}" if process.returncode >= 0 else ""
            return Run(error=f"{how}: {lines[-1] if lines else 'no message'}")
        return Run(**json.loads(result.read_text()))


class Spread(NamedTuple):
    """Median, least and greatest of several measurements."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.3g}"
        return f"{self.median:.3g} [{self.low:.3g}-{self.high:.3g}]"


def spread(values: Sequence[float]) -> Spread:
    """Raises statistics.StatisticsError for no values."""
    return Spread(statistics.median(values), min(values), max(values))
