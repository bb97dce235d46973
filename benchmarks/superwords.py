"""Superwords against plain BPE of the same size: training, encoding, bytes per token.

    python -m benchmarks.superwords --corpus books.txt code.txt multi.txt

First, training on the beginning of each corpus is compared with a naive two-stage trainer. Then a
vocabulary with superwords and a plain one are trained on all corpora together, each in `--runs`
fresh processes, in turns: seconds by the clock, processor seconds, and the peak of memory above
that of the process before. Then each corpus is encoded as one text by both, on one core in fresh
processes, three passes: the first meets cold caches. `tokenizers` encodes the first
`--characters` of it from the exported tokenizer.json; its ids are compared with ours.

Times of encoding are processor times. Ranges are of the runs. 1 MB is 10^6 bytes. The exit status
is 1 if anything fails or differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Run, run_fresh, spread
from benchmarks.report import MB, machine, machine_line, note, table

KINDS = ("superwords", "plain")


def fresh(job: str, arguments: dict[str, Any], cores: int) -> Run:
    """One process; raises SystemExit with its message if it fails."""
    note(f"{job} {arguments}")
    run = run_fresh(
        f"benchmarks.superwords_jobs:{job}",
        arguments,
        distribution="tokenizers" if job == "encode_elsewhere" else "bytemill",
        cores=cores,
        want_outcome=True,
    )
    if run.error:
        raise SystemExit(f"{job}: {run.error}")
    return run


class Bench:
    """The settings of one call, and whether all was equal."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.equal = True

    def naive(self) -> None:
        """Compares with the naive trainer."""
        for path in self.args.corpus:
            run = fresh(
                "equality",
                {
                    "paths": [path],
                    "pattern": self.args.pattern,
                    "characters": self.args.naive_characters,
                },
                1,
            )
            equal = run.outcome["equal"]
            self.equal &= equal
            print(f"{Path(path).name}: merges {'equal to' if equal else 'OTHER than'} naive ones")

    def train(self) -> list[list[str]]:
        """Rows of the table of training."""
        args = self.args
        runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
        for _ in range(args.runs):
            for kind in KINDS:
                first = args.superwords_from if kind == "superwords" else None
                arguments = {
                    "paths": args.corpus,
                    "pattern": args.pattern,
                    "vocab_size": args.vocab_size,
                    "superwords_from": first,
                    "threads": args.threads,
                    "folder": str(self.folder / kind),
                }
                runs[kind].append(fresh("train", arguments, args.threads))
        n_bytes = sum(Path(path).stat().st_size for path in args.corpus)
        rows = []
        for kind, done in runs.items():
            peak = spread([((run.peak_bytes or 0) - (run.base_bytes or 0)) / MB for run in done])
            rows.append(
                [
                    kind,
                    str(spread([run.seconds or 0 for run in done])),
                    str(spread([run.outcome["processor_seconds"] for run in done])),
                    f"{peak.median:,.0f}",
                    f"{peak.median / (n_bytes / MB):.2f}",
                ]
            )
        return rows

    def encode(self, path: str) -> list[list[str]]:
        """Rows of the table of encoding for a corpus."""
        args = self.args
        shared = {"path": path, "characters": args.characters}
        folders = {kind: str(self.folder / kind) for kind in KINDS}
        runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
        for _ in range(args.runs):
            for kind in KINDS:
                runs[kind].append(fresh("encode", {"folder": folders[kind], **shared}, 1))
        rates = {
            kind: [[_rate(run, at) for run in done] for at in (0, -1)]
            for kind, done in runs.items()
        }
        plain = [spread(of).median for of in rates["plain"]]
        rows = []
        for kind in KINDS:
            found = runs[kind][0].outcome
            ours = [spread(of) for of in rates[kind]]
            theirs = fresh("encode_elsewhere", {"folder": folders[kind], **shared}, 1)
            row = [kind, f"{found['bytes'] / found['ids']:.2f}", str(ours[0]), str(ours[1])]
            row += [f"{of.median / base:.2f}" for of, base in zip(ours, plain, strict=True)]
            if theirs.outcome is None:
                rows.append([*row, "", theirs.absent or ""])
                continue
            equal = theirs.outcome["digest"] == found["digest"]
            self.equal &= equal
            their_rate = theirs.outcome["bytes"] / MB / theirs.outcome["processor_seconds"]
            row += [f"{their_rate:.2f}", "equal" if equal else "OTHER"]
            rows.append(row)
        return rows


def _rate(run: Run, at: int) -> float:
    """MB/s of a pass."""
    seconds: float = run.outcome["processor_seconds"][at]
    return float(run.outcome["bytes"]) / MB / seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.superwords",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--corpus", nargs="+", required=True, help="plain text files, documents separated")
    add("--pattern", default="cl100k", help="a pattern's name (cl100k)")
    add("--vocab-size", type=int, default=50_000)
    add("--superwords-from", type=int, default=40_000)
    add("--threads", type=int, default=2, help="of training (2)")
    add("--runs", type=int, default=3)
    add("--characters", type=int, default=2_000_000, help="that tokenizers encodes")
    add("--naive-characters", type=int, default=20_000, help="for the naive trainer")
    add("--markdown", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-superwords-") as folder:
        bench = Bench(args, Path(folder))
        print(machine_line(machine()))
        bench.naive()
        n_bytes = sum(Path(path).stat().st_size for path in args.corpus)
        sizes = f"{args.vocab_size:,} tokens, superwords from {args.superwords_from:,}"
        _title(f"Training, {n_bytes / MB:.1f} MB, {args.threads} threads, {sizes}", args.markdown)
        head = ["vocabulary", "seconds", "processor seconds", "memory, MB", "of the text"]
        print(table(head, bench.train(), markdown=args.markdown), flush=True)
        for path in args.corpus:
            size = Path(path).stat().st_size / MB
            _title(f"Encoding, one core, {Path(path).stem}, {size:.1f} MB", args.markdown)
            head = ["vocabulary", "bytes/token", "1st MB/s", "3rd MB/s", "1st, of plain"]
            head += ["3rd, of plain", "tokenizers, MB/s", "its ids"]
            print(table(head, bench.encode(path), markdown=args.markdown), flush=True)
    return 0 if bench.equal else 1


def _title(text: str, markdown: bool) -> None:
    print(f"\n**{text}**\n" if markdown else f"\n{text}")


if __name__ == "__main__":
    sys.exit(main())
