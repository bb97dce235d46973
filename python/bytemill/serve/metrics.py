"""What a server counts, as JSON and in Prometheus' text format."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bytemill.lm.engine.worker import Pool

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """How often something took how long."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, text: str) -> Iterable[str]:
        """In Prometheus' format."""
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} histogram"
        so_far = 0
        for edge, count in zip((*map(str, _SECONDS), "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{le="{edge}"}} {so_far}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {so_far}"


class Metrics:
    """Of a server, from its start on."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._start = pool, time.monotonic()
        self.requests: Counter[tuple[str, int]] = Counter()
        """By path and status."""
        self.open = 0
        """Answers under way."""
        self.closed_early = 0
        """Answers whose client went before their end."""
        self.first_token = Histogram()
        self.whole = Histogram()

    def engines(self) -> list[dict[str, Any]]:
        """What each engine has done and does."""
        return [
            {
                **worker.engine.counts.to_dict(),
                "active_rows": worker.engine.n_active,
                "waiting_rows": worker.engine.n_waiting,
                "max_rows": worker.engine.settings.max_rows,
                "prefix_bytes": worker.engine.prefix_bytes,
                "step_seconds": round(worker.step_seconds, 6),
                "alive": worker.is_alive,
            }
            for worker in self._pool.workers
        ]

    def to_dict(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "uptime_seconds": round(time.monotonic() - self._start, 1),
            "requests": {f"{path} {status}": n for (path, status), n in self.requests.items()},
            "open_answers": self.open,
            "closed_early": self.closed_early,
            "engines": self.engines(),
        }

    def text(self) -> str:
        """In Prometheus' format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
        lines = ["# HELP bytemill_requests_total Requests by path and status."]
        lines.append("# TYPE bytemill_requests_total counter")
        for (path, status), n in sorted(self.requests.items()):
            lines.append(f'bytemill_requests_total{{path="{path}",status="{status}"}} {n}')
        for name, kind, value, text in (
            ("open_answers", "gauge", self.open, "Answers under way."),
            ("closed_early_total", "counter", self.closed_early, "Clients that went early."),
            ("uptime_seconds", "gauge", time.monotonic() - self._start, "Since the start."),
        ):
            lines.append(f"# HELP bytemill_{name} {text}")
            lines.append(f"# TYPE bytemill_{name} {kind}")
            lines.append(f"bytemill_{name} {value:g}")
        engines = self.engines()
        gauges = (
            "active_rows",
            "waiting_rows",
            "max_rows",
            "prefix_bytes",
            "step_seconds",
            "alive",
        )
        for key in engines[0]:
            is_gauge = key in gauges
            name = f"bytemill_engine_{key}" + ("" if is_gauge else "_total")
            lines.append(f"# TYPE {name} {'gauge' if is_gauge else 'counter'}")
            for number, engine in enumerate(engines):
                lines.append(f'{name}{{engine="{number}"}} {float(engine[key]):g}')
        what = "bytemill_first_token_seconds", "From a request to its first text."
        lines += self.first_token.lines(*what)
        lines += self.whole.lines("bytemill_answer_seconds", "From a request to its answer's end.")
        return "\n".join(lines) + "\n"
