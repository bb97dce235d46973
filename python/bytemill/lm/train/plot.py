"""Loss curves of runs, drawn of their metrics.jsonl."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bytemill import files
from bytemill.lm.train.metrics import FILE, read_metrics

PLOT: Final = "loss.png"
_CURVES: Final = {"loss": ("training", "-", ""), "val_loss": ("validation", "--", "o")}


def plot(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
) -> Path | None:
    """Draws the loss curves of one run, or of several to compare.

    A run's two curves have one color. Those of several are named by their folders.

    Args:
        runs: A run's folder, or several.
        out: The picture, a PNG; RUN/loss.png of the first run if None.

    Returns:
        The picture's path; None if matplotlib is not installed or there is nothing to draw.

    Raises:
        FileNotFoundError: A folder has no metrics.jsonl.
        ValueError: One is damaged.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    folders = [Path(runs)] if isinstance(runs, (str, os.PathLike)) else [Path(run) for run in runs]
    curves = {folder: _curves(read_metrics(folder / FILE)) for folder in folders}
    if not any(points for of_run in curves.values() for points in of_run.values()):
        return None
    # No pyplot: it picks a backend for the whole process.
    figure = Figure(figsize=(7, 4), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    for number, (folder, of_run) in enumerate(curves.items()):
        for name, (label, style, marker) in _CURVES.items():
            if points := of_run[name]:
                # A single point, of a run that ended at once, shows as a mark only.
                mark = marker or ("." if len(points) == 1 else "")
                color = f"C{number}" if len(curves) > 1 else None
                named = f"{folder.resolve().name}, {label}" if len(curves) > 1 else label
                axes.plot(
                    *zip(*points, strict=True),
                    label=named, ls=style, marker=mark, ms=3.5, lw=1, color=color,
                )  # fmt: skip
    axes.set_xlabel("tokens")
    axes.set_ylabel("loss, nats per token")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(alpha=0.3)
    axes.legend()
    target = folders[0] / PLOT if out is None else Path(out)
    with files.replacing(target) as file:
        figure.savefig(file, format="png")
    return target


def _curves(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Tokens and loss; what is null, as the loss of a run that has diverged, has no point."""
    return {
        name: [(row["tokens"], row[name]) for row in rows if row.get(name) is not None]
        for name in _CURVES
    }
