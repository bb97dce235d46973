"""What benchmarks print and write: tables, JSON lines, a plot, the machine."""

from __future__ import annotations

import json
import os
import platform
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


def append_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Adds one line per record; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@dataclass(frozen=True)
class Panel:
    """One chart of grouped bars; less is better."""

    title: str
    unit: str
    values: Mapping[str, Mapping[str, Spread]]
    """Group (a corpus) -> series (a library) -> what was measured."""


def plot(path: Path, title: str, panels: Sequence[Panel]) -> str | None:
    """Draws the panels side by side to a PNG; returns why not, if it could not."""
    try:
        import matplotlib
    except ImportError:
        return "no plot: matplotlib is not installed"
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(6.5 * len(panels), 4.2), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        groups = list(panel.values)
        series = list(dict.fromkeys(s for group in groups for s in panel.values[group]))
        width = 0.8 / max(1, len(series))
        for k, name in enumerate(series):
            points = [
                (i, panel.values[g][name]) for i, g in enumerate(groups) if name in panel.values[g]
            ]
            x = [i + (k - (len(series) - 1) / 2) * width for i, _ in points]
            y = [s.median for _, s in points]
            error = [[s.median - s.low for _, s in points], [s.high - s.median for _, s in points]]
            bars = axis.bar(x, y, width * 0.92, yerr=error, label=name, capsize=2)
            axis.bar_label(bars, [f"{v:.3g}" for v in y], fontsize=7, padding=2)
        values = [s.median for group in groups for s in panel.values[group].values()]
        # With a large ratio, linear bars hide the short ones.
        if values and min(values) > 0 and max(values) > 10 * min(values):
            axis.set_yscale("log")
        axis.margins(y=0.12)
        axis.set_xticks(range(len(groups)), groups)
        axis.set_ylabel(panel.unit)
        axis.set_title(panel.title)
    axes[0][0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return None
