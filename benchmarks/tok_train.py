"""Training time and memory of bytemill and other libraries, on the same text and pattern.

    python -m benchmarks.tok_train --corpus books.txt code.txt --together --vocab-size 32768

Each library trains in a fresh process, `--runs` times, the libraries taking turns. The time is
wall-clock and covers training only: reading the file (which lies in the system's file cache),
pretokenizing, counting, merging; not interpreter start and imports. Peak memory is that of the
whole process, mapped file pages included. Ratios are the library's time and memory over
bytemill's. The merges of each library are compared with those that bytemill learns under the same
tie rule, in untimed runs; unequal ones make the exit status 1.

Corpora are plain UTF-8 text, documents separated by `<|endoftext|>`. 1 MB is 10^6 bytes.

One line per run is added to `OUT/tok_train.jsonl`: `schema` (1), `benchmark`, `mode` ("compare",
"scaling" or "repeat-feed"), `corpus` (label), `files`, `bytes`, `vocab_size`, `pattern`, `cores`
(null: all), `times` (how often the text was fed through a generator; 0: as a file), `run` (from
0), `library`, `version`, `seconds`, `peak_bytes`, `base_bytes` (resident before training),
`absent` (why it was not run), `error` (how it failed), `merges` (the comparison's verdict; null
where not compared), `machine`. `OUT/tok_train.png` shows medians with the range of the runs.

`--scaling` times an eighth, a quarter, a half and all of each corpus (documents taken evenly);
`--repeat-feed N` feeds each corpus through a generator once and N times and compares the peaks.
Both run bytemill only, unless `--libraries` says otherwise.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.documents import Corpus, check_files, corpora_of, write_share
from benchmarks.equality import Verdict, compare
from benchmarks.measure import Run, run_fresh, spread
from benchmarks.peers import TRAINERS
from benchmarks.report import (
    MB,
    Panel,
    append_jsonl,
    machine,
    machine_line,
    note,
    note_load,
    plot,
    table,
)

OURS = "bytemill"


class Bench:
    """The settings of one call, and the records it has made."""

    def __init__(self, args: argparse.Namespace) -> None:
        from bytemill._core import pat_str

        self.args = args
        self.pattern = pat_str(args.pattern)
        self.machine = machine()
        self.ok = True

    def train(self, library: str, corpus: Corpus, want_outcome: bool = False, **more: Any) -> Run:
        """One fresh process."""
        trainer = TRAINERS[library]
        arguments = {
            "paths": corpus.paths,
            "vocab_size": self.args.vocab_size,
            "pattern": self.pattern,
            "threads": self.args.threads,
            **more,
        }
        return run_fresh(
            trainer.job,
            arguments,
            distribution=trainer.distribution,
            cores=self.args.threads,
            timeout=self.args.timeout,
            want_outcome=want_outcome,
        )

    def rounds(
        self, corpus: Corpus, libraries: Sequence[str], *, keep_outcome: bool, times: int = 0
    ) -> dict[str, list[Run]]:
        """`--runs` runs of each library, in turns; one that cannot run or fails is not repeated."""
        for path in corpus.paths:  # into the system's file cache
            with Path(path).open("rb") as file:
                while file.read(1 << 20):
                    pass
        runs: dict[str, list[Run]] = {library: [] for library in libraries}
        for round_ in range(self.args.runs):
            for library in libraries:
                if runs[library] and runs[library][-1].seconds is None:
                    continue
                note(f"{corpus.label}: {library}, run {round_ + 1} of {self.args.runs}")
                want = keep_outcome and round_ == 0
                run = self.train(library, corpus, want, times=times)
                runs[library].append(run)
        return runs

    def verdicts(self, corpus: Corpus, runs: dict[str, list[Run]]) -> dict[str, Verdict]:
        """Compares each library's merges with bytemill's under its tie rule."""
        references: dict[tuple[str, bool], Run] = {}
        verdicts = {}
        for library, done in runs.items():
            tie, by_lines = TRAINERS[library].tie_break, TRAINERS[library].by_lines
            if done[0].outcome is None:
                continue
            if tie is None:
                verdicts[library] = Verdict("other tie rule", True)
                continue
            if library == OURS:
                verdicts[library] = Verdict(f"{tie} ties, no peer", True)
                continue
            if (tie, by_lines) not in references:
                of_lines = " of lines" if by_lines else ""
                note(f"{corpus.label}: merges{of_lines} of bytemill with {tie} ties, untimed")
                more = {"by_lines": True} if by_lines else {}
                references[tie, by_lines] = self.train(OURS, corpus, True, tie_break=tie, **more)
            reference = references[tie, by_lines]
            if reference.outcome is None:
                problem = reference.error or reference.absent
                verdicts[library] = Verdict(f"not compared: bytemill: {problem}", False)
                continue
            verdict = compare(reference.outcome, done[0].outcome)
            verdicts[library] = Verdict(
                f"{verdict.text}, {tie} ties{', by lines' if by_lines else ''}", verdict.ok
            )
        return verdicts

    def record(
        self,
        mode: str,
        corpus: Corpus,
        runs: dict[str, list[Run]],
        verdicts: dict[str, Verdict] | None = None,
        times: int = 0,
    ) -> None:
        """Adds JSON lines, and takes failures into the exit status."""
        verdicts = verdicts or {}
        records = []
        for library, done in runs.items():
            self.ok &= not any(run.error for run in done)
            self.ok &= library not in verdicts or verdicts[library].ok
            for i, run in enumerate(done):
                fields = asdict(run)
                del fields["outcome"]
                records.append(
                    {
                        "schema": 1,
                        "benchmark": "tok_train",
                        "mode": mode,
                        "corpus": corpus.label,
                        "files": [Path(path).name for path in corpus.paths],
                        "bytes": corpus.n_bytes,
                        "vocab_size": self.args.vocab_size,
                        "pattern": self.pattern,
                        "cores": self.args.threads,
                        "times": times,
                        "run": i,
                        "library": library,
                        **fields,
                        "merges": verdicts[library].text if library in verdicts else None,
                        "machine": self.machine,
                    }
                )
        append_jsonl(self.args.out / "tok_train.jsonl", records)

    def print_table(self, title: str, head: Sequence[str], rows: list[list[str]]) -> None:
        """A titled table on standard output."""
        markdown = self.args.markdown
        print(f"\n**{title}**\n" if markdown else f"\n{title}")
        print(table(head, rows, markdown=markdown), flush=True)


def seconds(runs: Sequence[Run]) -> list[float]:
    """The times of the runs that came to an end."""
    return [run.seconds for run in runs if run.seconds is not None]


def peak(runs: Sequence[Run]) -> int | None:
    """The highest peak of all runs, in bytes."""
    return max((run.peak_bytes for run in runs if run.peak_bytes), default=None)


def base(runs: Sequence[Run]) -> int | None:
    """The highest memory before training of all runs, in bytes."""
    return max((run.base_bytes for run in runs if run.base_bytes), default=None)


def megabytes(n: int | None) -> str:
    """Whole megabytes, or a dash."""
    return "-" if n is None else f"{n / MB:.0f}"


def compare_libraries(bench: Bench, corpora: Sequence[Corpus], libraries: list[str]) -> None:
    """The main table: one per corpus."""
    head = [
        "library",
        "version",
        "seconds",
        "MB/s",
        "peak MB",
        "at start",
        "time ratio",
        "memory ratio",
        "merges",
    ]
    times: dict[str, dict[str, Any]] = {}
    peaks: dict[str, dict[str, Any]] = {}
    for corpus in corpora:
        runs = bench.rounds(corpus, libraries, keep_outcome=True)
        verdicts = bench.verdicts(corpus, runs)
        bench.record("compare", corpus, runs, verdicts)
        ours = runs.get(OURS, [])
        rows = []
        for library, done in runs.items():
            version = done[0].version or "-"
            problem = next((run.absent or run.error for run in done if run.seconds is None), None)
            if problem is not None:
                rows.append([library, version, *["-"] * 6, problem])
                continue
            took, most = spread(seconds(done)), peak(done)
            times.setdefault(corpus.label, {})[library] = took
            time_ratio = memory_ratio = "-"
            if seconds(ours):
                time_ratio = f"{took.median / spread(seconds(ours)).median:.2f}x"
            if most and (our_peak := peak(ours)):
                memory_ratio = f"{most / our_peak:.2f}x"
            if most:
                measured = [run.peak_bytes / MB for run in done if run.peak_bytes]
                peaks.setdefault(corpus.label, {})[library] = spread(measured)
            rows.append(
                [
                    library,
                    version,
                    str(took),
                    f"{corpus.n_bytes / MB / took.median:.1f}",
                    megabytes(most),
                    megabytes(base(done)),
                    time_ratio,
                    memory_ratio,
                    verdicts[library].text,
                ]
            )
        bench.print_table(f"{corpus.label}, {corpus.n_bytes / MB:.1f} MB", head, rows)
    title = f"Training, vocabulary {bench.args.vocab_size:,}; median and range of {bench.args.runs}"
    path = bench.args.out / "tok_train.png"
    panels = [Panel("Time", "seconds", times), Panel("Peak memory", "MB", peaks)]
    problem = plot(path, title, panels) if times else "no plot: nothing was measured"
    note(problem or f"plot: {path}")


def scaling(bench: Bench, corpora: Sequence[Corpus], libraries: list[str]) -> None:
    """Time against the size of the text."""
    head = ["library", "share", "MB", "seconds", "MB/s", "peak MB", "time for twice the text"]
    for corpus in corpora:
        rows = []
        before: dict[str, tuple[float, float]] = {}
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for of in (8, 4, 2, 1):
                part = corpus
                if of > 1:
                    paths = [str(Path(folder, f"{i}.txt")) for i, _ in enumerate(corpus.paths)]
                    for whole, path in zip(corpus.paths, paths, strict=True):
                        write_share(whole, Path(path), of)
                    part = Corpus(f"{corpus.label} 1/{of}", paths)
                size = part.n_bytes / MB
                runs = bench.rounds(part, libraries, keep_outcome=False)
                bench.record("scaling", part, runs)
                for library, done in runs.items():
                    if not seconds(done):
                        problem = str(done[0].absent or done[0].error)
                        rows.append([library, f"1/{of}", f"{size:.1f}", *["-"] * 3, problem])
                        continue
                    took = spread(seconds(done))
                    growth = "-"
                    if library in before:
                        size_before, took_before = before[library]
                        # Cut at documents, the shares are not exactly halves.
                        doublings = math.log2(size / size_before)
                        growth = f"{(took.median / took_before) ** (1 / doublings):.2f}x"
                    before[library] = size, took.median
                    rate = f"{size / took.median:.1f}"
                    cells = [f"{size:.1f}", str(took), rate, megabytes(peak(done)), growth]
                    rows.append([library, f"1/{of}", *cells])
        bench.print_table(f"{corpus.label}: time and size", head, rows)


def repeat_feed(bench: Bench, corpora: Sequence[Corpus], libraries: list[str]) -> None:
    """Peak memory when the same text comes through a generator once and many times."""
    head = ["library", "fed", "MB", "seconds", "peak MB", "at start", "peak against once"]
    for corpus in corpora:
        rows = []
        once: dict[str, int | None] = {}
        for times in (1, bench.args.repeat_feed):
            runs = bench.rounds(corpus, libraries, keep_outcome=False, times=times)
            bench.record("repeat-feed", corpus, runs, times=times)
            for library, done in runs.items():
                size = f"{corpus.n_bytes * times / MB:.1f}"
                if not seconds(done):
                    problem = str(done[0].absent or done[0].error)
                    rows.append([library, f"{times}x", size, *["-"] * 3, problem])
                    continue
                most = peak(done)
                first = once.setdefault(library, most)
                ratio = f"{100 * (most / first - 1):+.1f} %" if most and first else "-"
                took = str(spread(seconds(done)))
                rows.append(
                    [
                        library,
                        f"{times}x",
                        size,
                        took,
                        megabytes(most),
                        megabytes(base(done)),
                        ratio,
                    ]
                )
        bench.print_table(f"{corpus.label}: fed again and again", head, rows)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, checked."""
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tok_train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--vocab-size", type=int, required=True, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="cores to use (default: all)")
    parser.add_argument("--pattern", default="gpt2", help="a name or a regex (default: gpt2)")
    parser.add_argument("--runs", type=int, default=3, metavar="K", help="default: 3")
    parser.add_argument("--libraries", metavar="A,B", help=f"default: {','.join(TRAINERS)}")
    parser.add_argument("--together", action="store_true", help="also all corpora as one")
    parser.add_argument("--scaling", action="store_true", help="time against size instead")
    parser.add_argument("--repeat-feed", type=int, metavar="N", help="memory of N feeds instead")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="per run")
    parser.add_argument("--markdown", action="store_true", help="Markdown tables")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    args = parser.parse_args(argv)
    only_ours = args.scaling or args.repeat_feed
    names = args.libraries.split(",") if args.libraries else [OURS] if only_ours else [*TRAINERS]
    for name in names:
        if name not in TRAINERS:
            parser.error(f"--libraries: {name!r} is none of {', '.join(TRAINERS)}")
    args.libraries = names
    check_files(parser, args.corpus)
    for name in ("threads", "runs", "repeat_feed"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: {value} is less than 1")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 if a library failed or its merges are not what they should be."""
    args = parse(argv)
    try:
        bench = Bench(args)
    except ImportError as error:
        note(f"bytemill is not installed ({error}); build it: maturin develop --release")
        return 1
    corpora = corpora_of(args.corpus, args.together)
    cores = f"{args.threads} cores" if args.threads else "all cores"
    line = f"{machine_line(bench.machine)}; {cores} used"
    note_load()
    print(f"{line}\nvocabulary {args.vocab_size:,}, pattern {args.pattern}, {args.runs} runs each")
    if args.scaling:
        scaling(bench, corpora, args.libraries)
    elif args.repeat_feed:
        repeat_feed(bench, corpora, args.libraries)
    else:
        compare_libraries(bench, corpora, args.libraries)
    return 0 if bench.ok else 1


if __name__ == "__main__":
    sys.exit(main())
