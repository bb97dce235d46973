"""What benchmarks print and write: progress, tables, JSON lines, a plot, the machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Spread

MB = 1_000_000


def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, RAM in bytes, operating system, Python."""
    model = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open() as file:
            names = (line.partition(":")[2].strip() for line in file if "model name" in line)
            model = next(names, model)
    except OSError:
        pass
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        ram = None
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    return {
        "cpu": model,
        "arch": platform.machine(),
        "cores": cores,
        "ram_bytes": ram,
        "os": f"{system}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def machine_line(of: Mapping[str, Any]) -> str:
    """`machine()` in one line."""
    ram = f"{of['ram_bytes'] / 2**30:.0f} GiB RAM, " if of["ram_bytes"] else ""
    return (
        f"{of['cpu']} ({of['arch']}), {of['cores']} cores, {ram}{of['os']}, Python {of['python']}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool = False) -> str:
    """Columns aligned for reading, or a Markdown table; the first and last are set left."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    left = (0, len(head) - 1)
    cells = [
        [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in cells)
    rule = ["-" * w if i in left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def note_load() -> None:
    """Says so if the machine has something else to do."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        note(f"other work keeps {load:.1f} cores busy: expect noisy times")


def append_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Adds one line per record; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@dataclass(frozen=True)
class Panel:
    """One chart of grouped bars."""

    title: str
    unit: str
    values: Mapping[str, Mapping[str, Spread]]
    """Group (a corpus) -> series (a library) -> what was measured."""

    @property
    def series(self) -> list[str]:
        """The series of all groups, each once."""
        return list(dict.fromkeys(name for group in self.values.values() for name in group))


_INCHES_PER_BAR = 0.42
"""What a label of five characters needs, such as 1,760."""
_MOST_LINEAR = 60.0
"""With a larger ratio between bars, the short ones of a linear axis could not be seen."""


def number(value: float) -> str:
    """Three significant digits, without an exponent, and with separators of thousands."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plot(path: Path, title: str, panels: Sequence[Panel]) -> str | None:
    """Draws the panels to a PNG, side by side or, where that is too wide, one below the other.

    Bars are medians, the lines on them ranges. An axis that is not linear says so.

    Returns:
        Why nothing was drawn; None if it was.
    """
    try:
        import matplotlib.figure
    except ImportError:
        return "no plot: matplotlib is not installed"

    bars = max(len(panel.values) * (len(panel.series) + 0.8) for panel in panels)
    width = max(4.5, bars * _INCHES_PER_BAR)
    columns = len(panels) if width * len(panels) <= 14 else 1
    rows = -(-len(panels) // columns)
    # No pyplot: it picks a backend for the whole process.
    figure = matplotlib.figure.Figure(
        figsize=(width * columns + 0.8, 3.6 * rows + 0.7), dpi=130, layout="constrained"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=True):
        _draw(axes, panel)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return None


def _draw(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    groups, series = list(panel.values), panel.series
    width = 0.86 / max(1, len(series))
    for k, name in enumerate(series):
        points = [
            (i, panel.values[g][name]) for i, g in enumerate(groups) if name in panel.values[g]
        ]
        x = [i + (k - (len(series) - 1) / 2) * width for i, _ in points]
        y = [s.median for _, s in points]
        error = [[s.median - s.low for _, s in points], [s.high - s.median for _, s in points]]
        ranges = {"elinewidth": 0.9, "alpha": 0.7}
        bars = axes.bar(x, y, width * 0.9, yerr=error, label=name, capsize=2, error_kw=ranges)
        axes.bar_label(bars, [number(v) for v in y], fontsize=7, padding=2)
    values = [s.median for group in groups for s in panel.values[group].values()]
    unit = panel.unit
    axes.margins(y=0.1)
    if values and min(values) > 0 and max(values) > _MOST_LINEAR * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        unit += ", logarithmic axis"
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(unit)
    axes.set_title(panel.title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
