"""Writes what runs came to on one page: Markdown, HTML with the loss curves, and JSON.

bytemill report runs/sft
bytemill report runs/small runs/large --out comparison
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bytemill import __version__
from bytemill.cli.command import EPILOG, check_writable, exit_status
from bytemill.files import write_bytes
from bytemill.lm.report import (
    chain,
    comparison,
    contents,
    figures,
    read_run,
    to_html,
    to_markdown,
)
from bytemill.lm.train.plot import plot

FOLDER: Final = "report"
PICTURE: Final = "loss.png"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Report on a run: machine, data, settings, time, cost, what evaluations gave "
        "it, and samples, for it and for the runs that it began with (--init-from), one column "
        "each. Several runs are compared instead. What has not been evaluated is left out.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add("runs", nargs="+", metavar="RUN", help="a run's folder")
    add(
        "--out",
        metavar="DIR",
        help=f"a folder for report.md, .html, .json and {PICTURE} (default: RUN/{FOLDER} of a "
        "single run; needed for several)",
    )
    add(
        "--dollars-per-hour",
        type=float,
        metavar="X",
        help="dollars that all devices of a run cost an hour together (default: 3 for each H100, "
        "1.79 for each A100; nothing is said of others)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "nothing was written")


def run(args: argparse.Namespace) -> None:
    """Reads, writes, and says where."""
    folders = [Path(name) for name in args.runs]
    price = args.dollars_per_hour
    if price is not None and not 0 <= price < float("inf"):
        raise ValueError(f"--dollars-per-hour {price}: it must be a number, at least 0")
    if args.out is None and len(folders) > 1:
        raise ValueError(f"--out: missing; name a folder for the report of {len(folders)} runs")
    out = folders[0] / FOLDER if args.out is None else Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: it exists and is not a folder")
    lost: str | None = None
    is_single = len(folders) == 1
    if is_single:
        runs, lost = chain(folders[0])
    else:
        runs = [read_run(folder) for folder in folders]
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    # The curves of a chain have nothing in common; those of runs to compare have.
    picture = plot(folders, out / PICTURE)
    page = contents(runs, lost, picture, price) if is_single else comparison(runs, picture, price)
    whole = {
        "format": "bytemill-report",
        "version": 1,
        "bytemill": __version__,
        "runs": [figures(each, price) for each in runs],
    }
    write_bytes(out / "report.md", to_markdown(page).encode())
    write_bytes(out / "report.html", to_html(page).encode())
    write_bytes(out / "report.json", (json.dumps(whole, indent=1) + "\n").encode())
    print(out / "report.html")
