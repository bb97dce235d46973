"""Draws the loss curves of training runs, one or several to compare.

bytemill plot runs/first runs/second --out losses.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bytemill.cli.command import EPILOG, check_writable, exit_status
from bytemill.lm.train.metrics import FILE
from bytemill.lm.train.plot import PLOT, plot


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Draw the training and validation loss of runs over the tokens they have seen. "
        "Several runs share one picture, each with a color of its own and named by its folder.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder; runs that are still going on may be drawn, too",
    )
    add(
        "--out",
        metavar="FILE",
        help=f"the picture, a PNG (default: RUN/{PLOT} of a single run; needed for several)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "nothing was drawn")


def run(args: argparse.Namespace) -> None:
    """Draws, and says where."""
    runs = [Path(name) for name in args.runs]
    if args.out is None and len(runs) > 1:
        raise ValueError(f"--out: missing; name the picture of {len(runs)} runs")
    out = runs[0] / PLOT if args.out is None else Path(args.out)
    if out.is_dir():
        raise IsADirectoryError(21, "it is a folder; name the picture in it", f"--out {out}")
    for folder in runs:
        if not (folder / FILE).is_file():
            raise ValueError(f"{folder}: there is no {FILE} in it; name a run's folder")
    check_writable(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    import matplotlib  # noqa: F401  (named in the message if it is missing)

    if plot(runs, out) is None:
        raise ValueError(f"{', '.join(args.runs)}: no step has been logged yet; nothing to draw")
    print(out)
