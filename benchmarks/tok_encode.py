"""Speed and memory of encoding, counting and decoding: bytemill and other libraries.

    python -m benchmarks.tok_encode --corpus books.txt code.txt --only files,list

Each measurement runs in a fresh process, `--runs` times, the libraries taking turns; imports and
the loading of vocabularies are not timed. What comes out is compared, untimed, with tiktoken's ids;
a library that gives others, fails, lacks a call or is not installed is shown as such. The first
pass is the first time the process sees the text; but a call with a three-character text comes half
a second before, as some libraries build tables in their first. Ratios are the library's time over
bytemill's.

    files   files to ids in memory, passes 1 to 3, all cores; libraries without a file reader get
            the documents as a list ("batch"); toktok only counts ("count")
    list    a Python list for each document, passes 1 to 3, one core
    short   a 100-character string: median time of a call, one core, after 10,000 others; and
            batches of 10,000 such strings, all cores
    decode  the documents' ids to text, one call each, passes 1 to 3, one core
    count   tokens of each document, passes 1 to 3, all cores
    disk    files to token files on disk against the same in memory: time and peak memory
    memory  10,000 distinct strings of 120 kB: growth of resident memory, and ten batches' times
    linear  t(2n)/t(n) of hard texts (`benchmarks.families`), processor time, best of five

Vocabularies: those that tiktoken publishes (from its cache; TIKTOKEN_CACHE_DIR), and "own", which
bytemill trains on the corpora with `--own-pattern`. Corpora are plain UTF-8 text, documents
separated by `<|endoftext|>`; several are also measured as one. 1 MB is 10^6 bytes.

One line per run is added to `OUT/tok_encode.jsonl`: `schema` (1), `benchmark`, `measurement` (as
above; "short batch" apart), `corpus` (label; null for memory, the family for linear), `files`,
`bytes`, `vocabulary`, `pattern` (of "own", else null), `cores` (null: all), `run` (from 0),
`library`, `way` ("files", "batch", "count", "list", "call", "decode", "disk", "memory"),
`version`, `seconds` (of all timed work), `figures` (name -> number: `pass_1` to `pass_3`, `median`,
`p99`, `first`, `median_batch`, `worst_batch`, `half`, `whole` in seconds; `growth_bytes`),
`peak_bytes`, `base_bytes` (resident before), `ids` ("equal", "other ids", "counts equal", "not
checked"; null if not run), `absent` (why not run), `error` (how it failed), `machine`.
`OUT/tok_encode.png` shows first passes. The exit status is 1 if bytemill fails or differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.documents import Corpus, check_files, corpora_of
from benchmarks.encode_tables import MEASUREMENTS, Measurement, Row, linear_table, rows_of
from benchmarks.encoders import LIBRARIES, OWN, Vocabulary
from benchmarks.families import FAMILIES
from benchmarks.measure import Run, run_fresh, spread
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
VOCABULARIES = ("cl100k_base", "o200k_base", "r50k_base", OWN)
OWN_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}{1,24}|\p{N}{1,2}| ?[^\s\p{L}\p{N}]{1,8}[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
Runs = dict[Row, list[Run]]


class Bench:
    """The settings of one call, and what it has found."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.machine = machine()
        self.ok = True
        self.panels: dict[str, dict[str, dict[str, Any]]] = {}
        self._references: dict[Any, Any] = {}

    def fresh(self, job: str, library: str, arguments: dict[str, Any], cores: int | None) -> Run:
        """One process."""
        return run_fresh(
            f"benchmarks.encode_jobs:{job}",
            arguments,
            distribution=LIBRARIES[library].distribution,
            cores=cores,
            timeout=self.args.timeout,
            want_outcome=True,
        )

    def reference(self, job: str, arguments: dict[str, Any]) -> dict[str, str] | None:
        """tiktoken's digests; None if it cannot give them. Asked once."""
        key = (job, str(arguments))
        if key not in self._references:
            note(f"tiktoken's ids: {job}")
            run = self.fresh(job, "tiktoken", arguments, None)
            self._references[key] = run.outcome and run.outcome["digests"]
        found: dict[str, str] | None = self._references[key]
        return found

    def rounds(self, label: str, rows: Sequence[Row], shared: dict[str, Any]) -> Runs:
        """`--runs` runs of each row, in turns; one that cannot run or fails is not repeated."""
        runs: Runs = {row: [] for row in rows}
        for round_ in range(self.args.runs):
            for row in rows:
                if runs[row] and runs[row][-1].seconds is None:
                    continue
                note(f"{label}: {row.library}, {row.way}, run {round_ + 1} of {self.args.runs}")
                cores = 1 if row.one_core else self.args.threads
                arguments = {"library": row.library, **shared, **row.more}
                if row.takes_threads:
                    arguments["threads"] = cores
                runs[row].append(self.fresh(row.job, row.library, arguments, cores))
        return runs

    def verdict(self, row: Row, runs: Sequence[Run], reference: dict[str, str] | None) -> str:
        """Whether what came out is what tiktoken gives."""
        found = runs[0].outcome or {}
        if "equal" in found:
            return "equal" if found["equal"] else "other text"
        digests = found.get("digests")
        if digests is None or reference is None:
            return "not checked"
        if "ids" in digests:
            return "equal" if digests["ids"] == reference["ids"] else "other ids"
        return "counts equal" if digests["counts"] == reference["counts"] else "other counts"

    def record(
        self,
        measurement: str,
        vocabulary: Vocabulary,
        corpus: Corpus | str | None,
        runs: Runs,
        verdicts: dict[Row, str],
    ) -> None:
        """Adds JSON lines, and takes bytemill's failures into the exit status."""
        records = []
        is_corpus = isinstance(corpus, Corpus)
        for row, done in runs.items():
            if row.library == OURS:
                self.ok &= not any(run.error for run in done)
                self.ok &= not verdicts.get(row, "").startswith("other")
            for i, run in enumerate(done):
                records.append(
                    {
                        "schema": 1,
                        "benchmark": "tok_encode",
                        "measurement": measurement,
                        "corpus": corpus.label if isinstance(corpus, Corpus) else corpus,
                        "files": [Path(p).name for p in corpus.paths]
                        if isinstance(corpus, Corpus)
                        else [],
                        "bytes": corpus.n_bytes if is_corpus else None,  # type: ignore[union-attr]
                        "vocabulary": vocabulary.name,
                        "pattern": vocabulary.pattern if vocabulary.name == OWN else None,
                        "cores": 1 if row.one_core else self.args.threads,
                        "run": i,
                        "library": row.library,
                        "way": row.way,
                        "version": run.version,
                        "seconds": run.seconds,
                        "figures": (run.outcome or {}).get("figures", {}),
                        "peak_bytes": run.peak_bytes,
                        "base_bytes": run.base_bytes,
                        "ids": None if run.seconds is None else verdicts.get(row),
                        "absent": run.absent,
                        "error": run.error,
                        "machine": self.machine,
                    }
                )
        append_jsonl(self.args.out / "tok_encode.jsonl", records)

    def print_table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A titled table on standard output."""
        markdown = self.args.markdown
        print(f"\n**{title}**\n" if markdown else f"\n{title}")
        print(table(head, rows, markdown=markdown), flush=True)

    def measure(self, of: Measurement, vocabulary: Vocabulary, corpus: Corpus | None) -> None:
        """One table."""
        label = f"{of.name}, {vocabulary.name}" + (f", {corpus.label}" if corpus else "")
        shared: dict[str, Any] = {"vocabulary": list(vocabulary)}
        if corpus is not None:
            shared["paths"] = corpus.paths
        else:
            shared["n_strings"] = self.args.memory_strings
        rows = [row for row in of.rows if row.library in self.args.libraries]
        if not rows:
            return
        runs = self.rounds(label, rows, shared)
        reference = self.reference(of.reference, shared) if of.reference else None
        verdicts = {row: self.verdict(row, done, reference) for row, done in runs.items()}
        self.record(of.name, vocabulary, corpus, runs, verdicts)
        n_bytes = corpus.n_bytes if corpus else 0
        title = f"{of.title}: {vocabulary.name}"
        if corpus:
            title += f", {corpus.label}, {n_bytes / MB:.1f} MB"
        else:
            title += f", {self.args.memory_strings:,} strings"
        self.print_table(title, of.head(), rows_of(of, runs, verdicts, n_bytes, OURS))
        if corpus and of.in_plot:
            group = f"{corpus.label}\n{vocabulary.name}"
            panel = self.panels.setdefault(of.title, {}).setdefault(group, {})
            for row, done in runs.items():
                times = [r.outcome["figures"]["pass_1"] for r in done if r.outcome]
                if times:
                    panel[row.label(rows)] = spread([n_bytes / MB / t for t in times])

    def linear(self, vocabulary: Vocabulary) -> None:
        """The table of hard texts: a family a row, a library a column."""
        n = self.args.linear_chars
        cells: dict[str, dict[str, Run]] = {}
        for family in FAMILIES:
            shared = {"vocabulary": list(vocabulary), "family": family, "n": n}
            rows = [Row(name, "list", "linear", one_core=True) for name in self.args.libraries]
            rows = [row for row in rows if row.library != "toktok-rs"]
            runs: Runs = {}
            for row in rows:
                note(f"linear, {vocabulary.name}: {family}, {row.library}")
                arguments = {"library": row.library, **shared}
                runs[row] = [self.fresh("linear", row.library, arguments, 1)]
            theirs = next(
                (done[0] for row, done in runs.items() if row.library == "tiktoken"), None
            )
            if theirs is None:
                reference = self.reference("linear", {"library": "tiktoken", **shared})
            else:
                reference = theirs.outcome and theirs.outcome["digests"]
            verdicts = {row: self.verdict(row, done, reference) for row, done in runs.items()}
            self.record("linear", vocabulary, family, runs, verdicts)
            cells[family] = {}
            for row, (run,) in runs.items():
                cells[family][row.library] = run
                if verdicts[row].startswith("other"):
                    cells[family][row.library] = Run(error="other ids")
        title = f"t(2n)/t(n) and t(2n), n = {n:,} characters: {vocabulary.name}"
        self.print_table(title, *linear_table(cells))


def vocabulary_files(name: str, folder: Path, args: argparse.Namespace) -> Vocabulary:
    """Writes a vocabulary in the two formats that the libraries read.

    Raises Exception, of any kind, where a published one cannot be had.
    """
    from base64 import b64encode

    from bytemill import BpeTrainer, Tokenizer

    if name == OWN:
        note("training a vocabulary with a pattern of one's own")
        trainer = BpeTrainer(pattern=args.own_pattern, special_tokens=["<|endoftext|>"])
        trainer.feed_files(args.corpus)
        tokenizer = trainer.train(args.own_vocab_size)
    else:
        tokenizer = Tokenizer.from_tiktoken(name)
    made = Vocabulary(name, str(folder), tokenizer.pat_str)
    ranks = sorted(tokenizer.mergeable_ranks.items(), key=lambda item: item[1])
    lines = b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ranks)
    Path(made.file(".tiktoken")).write_bytes(lines)
    try:
        tokenizer.to_huggingface(made.file(".json"))
    except (ImportError, ValueError) as error:
        note(f"{name}: no tokenizer.json: {error}")
    return made


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, checked."""
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tok_encode",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*MEASUREMENTS, "linear"]
    add = parser.add_argument
    add("--corpus", nargs="+", type=Path, required=True, metavar="FILE")
    add("--only", metavar="A,B", default=",".join(names), help="default: %(default)s")
    add("--vocabularies", metavar="A,B", default=",".join(VOCABULARIES), help="default: all")
    add("--libraries", metavar="A,B", default=",".join(LIBRARIES), help="default: all")
    add("--threads", type=int, metavar="N", help="cores to use (default: all)")
    add("--runs", type=int, default=3, metavar="K", help="default: 3")
    add("--own-pattern", default=OWN_PATTERN, metavar="REGEX")
    add("--own-vocab-size", type=int, default=32768, metavar="N")
    add("--memory-strings", type=int, default=10_000, metavar="N", help="default: 10,000")
    add("--linear-chars", type=int, default=500_000, metavar="N", help="default: 500,000")
    add("--timeout", type=float, default=900.0, metavar="S", help="per run (default: 900)")
    add("--markdown", action="store_true", help="Markdown tables")
    add("--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    args = parser.parse_args(argv)
    for option, known in (
        ("only", names),
        ("vocabularies", VOCABULARIES),
        ("libraries", [*LIBRARIES]),
    ):
        chosen = getattr(args, option).split(",")
        for name in chosen:
            if name not in known:
                parser.error(f"--{option}: {name!r} is none of {', '.join(known)}")
        setattr(args, option, chosen)
    check_files(parser, args.corpus)
    for name, least in (("threads", 1), ("runs", 1), ("linear_chars", 1), ("memory_strings", 10)):
        if (value := getattr(args, name)) is not None and value < least:
            parser.error(f"--{name.replace('_', '-')}: {value} is less than {least}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 if bytemill failed or does not give tiktoken's ids."""
    args = parse(argv)
    bench = Bench(args)
    corpora = corpora_of(args.corpus)
    note_load()
    cores = f"{args.threads} cores" if args.threads else "all cores"
    print(f"{machine_line(bench.machine)}; {cores} used; {args.runs} runs each")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in args.vocabularies:
            try:
                vocabulary = vocabulary_files(name, Path(folder), args)
            except Exception as error:  # tiktoken's downloads raise whatever its network layer does
                print(f"\n{name}: left out: {str(error).splitlines()[0]}")
                continue
            for measurement in args.only:
                if measurement == "linear":
                    bench.linear(vocabulary)
                    continue
                for part in MEASUREMENTS[measurement]:
                    for corpus in corpora if part.has_corpus else [None]:
                        bench.measure(part, vocabulary, corpus)
    panels = [Panel(f"{title}, first pass", "MB/s", of) for title, of in bench.panels.items()]
    path = args.out / "tok_encode.png"
    title = f"First passes, median and range of {args.runs}; more is better"
    problem = plot(path, title, panels) if panels else "no plot: no passes were measured"
    note(problem or f"plot: {path}")
    return 0 if bench.ok else 1


if __name__ == "__main__":
    sys.exit(main())
