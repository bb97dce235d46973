"""The measurements of `benchmarks.tok_encode`: who takes part, and the columns of each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from benchmarks.encoders import LIBRARIES
from benchmarks.measure import Run, spread
from benchmarks.report import MB

OTHERS = [name for name in LIBRARIES if name != "bytemill"]


@dataclass(frozen=True)
class Row:
    """A library and the way it is called."""

    library: str
    way: str
    job: str
    """The function of `benchmarks.encode_jobs`."""
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    one_core: bool = False
    takes_threads: bool = False

    def label(self, rows: Sequence[Row]) -> str:
        """The library, with the way if it is there in several."""
        alone = sum(row.library == self.library for row in rows) == 1
        return self.library if alone else f"{self.library}, {self.way}"


class Column(NamedTuple):
    """A figure in a unit, or its ratio to bytemill's."""

    head: str
    figure: str
    unit: Literal["MB/s", "us", "ms", "s", "MB", "ratio", "of median"]


@dataclass(frozen=True)
class Measurement:
    """One table per vocabulary and, for most, corpus."""

    name: str
    title: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    reference: str | None
    """The job that gives tiktoken's digests."""
    has_corpus: bool = True
    in_plot: bool = False

    def head(self) -> list[str]:
        """The table's headings."""
        return ["library", "version", "way", *(c.head for c in self.columns), "ids"]


def _passes(way: str, libraries: Sequence[str]) -> list[Row]:
    return [Row(name, way, "passes", {"way": way}, takes_threads=True) for name in libraries]


_THREE = (
    Column("1st MB/s", "pass_1", "MB/s"),
    Column("2nd MB/s", "pass_2", "MB/s"),
    Column("3rd MB/s", "pass_3", "MB/s"),
    Column("1st ratio", "pass_1", "ratio"),
    Column("3rd ratio", "pass_3", "ratio"),
)
_SINGLE = [name for name in LIBRARIES if name != "toktok-rs"]

MEASUREMENTS: dict[str, list[Measurement]] = {
    "files": [
        Measurement(
            "files",
            "Files to ids in memory",
            [
                *_passes("files", ["bytemill", "gigatoken"]),
                *_passes("count", ["toktok-rs"]),
                *_passes("batch", [name for name in LIBRARIES if name != "toktok-rs"]),
            ],
            _THREE,
            "reference",
            in_plot=True,
        )
    ],
    "list": [
        Measurement(
            "list",
            "A list per document, one core",
            [Row(name, "list", "lists", one_core=True) for name in _SINGLE],
            _THREE,
            "reference",
            in_plot=True,
        )
    ],
    "short": [
        Measurement(
            "short",
            "A 100-character string, one core",
            [Row(name, "call", "short", one_core=True) for name in _SINGLE],
            (
                Column("median us", "median", "us"),
                Column("99 % us", "p99", "us"),
                Column("ratio", "median", "ratio"),
            ),
            "short_reference",
        ),
        Measurement(
            "short batch",
            "10,000 strings of 100 characters in one batch",
            [Row(name, "batch", "short_batch", takes_threads=True) for name in _SINGLE],
            (
                Column("first ms", "first", "ms"),
                Column("median ms", "median", "ms"),
                Column("ratio", "median", "ratio"),
            ),
            "short_reference",
        ),
    ],
    "decode": [
        Measurement(
            "decode",
            "Decoding, one core",
            [Row(name, "decode", "decode", one_core=True) for name in _SINGLE],
            _THREE,
            None,
            in_plot=True,
        )
    ],
    "count": [
        Measurement(
            "count",
            "Counting tokens",
            _passes("count", ["bytemill", "toktok-rs", "quicktok-v1"]),
            _THREE,
            "reference",
            in_plot=True,
        )
    ],
    "disk": [
        Measurement(
            "disk",
            "Files to token files, and to memory",
            [
                Row(name, way, "disk", {"way": way})
                for name, way in (
                    ("bytemill", "memory"),
                    ("bytemill", "disk"),
                    ("gigatoken", "memory"),
                )
            ],
            (
                Column("seconds", "seconds", "s"),
                Column("MB/s", "seconds", "MB/s"),
                Column("peak MB", "peak_bytes", "MB"),
                Column("at start", "base_bytes", "MB"),
                Column("ratio", "seconds", "ratio"),
            ),
            "reference",
        )
    ],
    "memory": [
        Measurement(
            "memory",
            "Distinct strings of 120 kB, one call each, in ten batches",
            [Row(name, "call", "memory_growth", one_core=True) for name in _SINGLE],
            (
                Column("growth MB", "growth_bytes", "MB"),
                Column("median batch s", "median_batch", "s"),
                Column("worst batch s", "worst_batch", "s"),
                Column("worst/median", "worst_batch", "of median"),
                Column("ratio", "median_batch", "ratio"),
            ),
            None,
            has_corpus=False,
        )
    ],
}


def figures_of(runs: Sequence[Run]) -> list[dict[str, float]]:
    """The figures of the runs that came to an end, with time and memory of the process."""
    return [
        {
            "seconds": run.seconds,
            "peak_bytes": run.peak_bytes or 0,
            "base_bytes": run.base_bytes or 0,
            **(run.outcome or {}).get("figures", {}),
        }
        for run in runs
        if run.seconds is not None
    ]


def _cell(
    column: Column, figures: list[dict[str, float]], ours: list[dict[str, float]], n_bytes: int
) -> str:
    values = [of[column.figure] for of in figures]
    if column.unit == "ratio":
        if not ours:
            return "-"
        return f"{spread(values).median / spread([o[column.figure] for o in ours]).median:.2f}x"
    if column.unit == "of median":
        return str(spread([of[column.figure] / of["median_batch"] for of in figures]))
    if column.unit == "MB/s":
        return str(spread([n_bytes / MB / value for value in values]))
    scale = {"us": 1e6, "ms": 1e3, "s": 1.0, "MB": 1 / MB}[column.unit]
    return str(spread([value * scale for value in values]))


def rows_of(
    of: Measurement,
    runs: Mapping[Row, Sequence[Run]],
    verdicts: Mapping[Row, str],
    n_bytes: int,
    base: str,
) -> list[list[str]]:
    """The table's lines; ratios are to the first row of the library `base` that was measured."""
    measured = {row: figures_of(done) for row, done in runs.items()}
    ours = next((f for row, f in measured.items() if row.library == base and f), [])
    lines = []
    for row, done in runs.items():
        start = [row.library, done[0].version or "-", row.way]
        problem = next((run.absent or run.error for run in done if run.seconds is None), None)
        if problem is not None:
            lines.append([*start, *["-"] * len(of.columns), problem])
            continue
        cells = [_cell(column, measured[row], ours, n_bytes) for column in of.columns]
        lines.append([*start, *cells, verdicts[row]])
    return lines


def linear_table(
    cells: Mapping[str, Mapping[str, Run]],
) -> tuple[list[str], list[list[str]]]:
    """Headings and lines: family -> library -> run."""
    libraries = list(dict.fromkeys(name for of in cells.values() for name in of))
    lines = []
    for family, of in cells.items():
        line = [family]
        for name in libraries:
            run = of[name]
            if run.outcome is None:
                line.append((run.absent or run.error or "-")[:24])
                continue
            figures = run.outcome["figures"]
            ratio = figures["whole"] / figures["half"]
            line.append(f"{ratio:.2f} ({figures['whole'] * 1e3:.3g} ms)")
        lines.append(line)
    return ["family", *libraries], lines
