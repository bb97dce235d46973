"""Instruction counts of training and encoding, by callgrind: comparable on noisy machines.

    python -m benchmarks.instructions [--encoding] [--corpus FILE] [--check]

Builds `rust/examples/phases.rs` in release mode and runs it, in one thread, under
`valgrind --tool=callgrind`, once for each phase it can stop after. A phase's count is the
difference between two runs, so start-up and reading are in none. The text is generated (the same on
every machine) or a file. Training's phases are counting and merging. With `--encoding` the phases
are those of encoding the text with the vocabulary learned from it: making the encoder ("load"), a
first pass over the documents ("encode") and a second one, with warm caches ("again").

Without `--check`, the counts go to `docs/instructions.json`, in place of those of the same text and
vocabulary size. With it, the file is left alone, the change since is printed, and the exit status
is 1 if a phase takes over `--tolerance` percent more, or is not recorded. Counts repeat to the
last few thousand with the same compiler; other compilers and processors (code chosen at run time
for AVX2, say) give others, so the file tells both.

The file: `schema` (1), `records` for training and `encoding` for encoding. Each record has `text`
(a file's name or "generated"), `bytes`, `vocab_size`, `merges`, `phases` (name -> `instructions`,
with `per_byte`, `per_merge` or `per_token`) and `versions` (bytemill, rustc, valgrind, cpu).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.report import machine, table

RECORD = ROOT / "docs" / "instructions.json"
SCHEMA = 1

#: The keys of the file that hold records.
TRAINING, ENCODING = "records", "encoding"


class Failed(Exception):
    """A tool is missing or failed; the message says which and how."""


def tool(command: Sequence[str]) -> str:
    """Runs a command at the root of the repository; returns its standard output."""
    if shutil.which(command[0]) is None:
        raise Failed(f"{command[0]} is not installed (or not on PATH)")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def build() -> Path:
    """Builds the example; returns the program."""
    command = ["cargo", "build", "--release", "--example", "phases", "--message-format", "json"]
    for line in tool(command).splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "phases":
            return Path(message["executable"])
    raise Failed("cargo named no program for the example `phases`")


def instructions_of(callgrind_out: str) -> int:
    """All instructions that a callgrind output file accounts for, over all threads and parts."""
    totals = re.findall(r"^(?:summary|totals): *(\d+)", callgrind_out, re.MULTILINE)
    if not totals:
        raise Failed("callgrind's output has no total")
    return int(totals[-1])


def measure(program: Path, text: str, vocab_size: int, phase: str) -> tuple[int, dict[str, Any]]:
    """Instructions of a run that stops after `phase`, and what the program says it did."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder, "callgrind.out")
        said = tool(
            [
                "valgrind",
                "--quiet",
                "--tool=callgrind",
                f"--callgrind-out-file={out}",
                str(program),
                text,
                str(vocab_size),
                phase,
            ]
        )
        return instructions_of(out.read_text()), json.loads(said)


def versions() -> dict[str, str]:
    """What the counts depend on."""
    toml = (ROOT / "Cargo.toml").read_text()
    match = re.search(r'^version = "(.+)"', toml, re.MULTILINE)
    return {
        "bytemill": match[1] if match else "?",
        "rustc": tool(["rustc", "--version"]).strip(),
        "valgrind": tool(["valgrind", "--version"]).strip(),
        "cpu": machine()["cpu"],
    }


#: By kind of record, the phases: what each is counted from, and the unit its count is divided by.
PHASES: dict[str, dict[str, tuple[str, str]]] = {
    TRAINING: {"count": ("text", "byte"), "train": ("count", "merge")},
    ENCODING: {
        "load": ("train", "token"),
        "encode": ("load", "byte"),
        "again": ("encode", "byte"),
    },
}


def record(
    program: Path, kind: str, corpus: Path | None, n_bytes: int, vocab_size: int
) -> dict[str, Any]:
    """Counts the phases of training or of encoding on one text."""
    text = str(corpus.resolve()) if corpus else f"generated:{n_bytes}"
    counts: dict[str, int] = {}
    said: dict[str, Any] = {}
    for phase, (before, _) in PHASES[kind].items():
        for stop in (before, phase):
            if stop not in counts:
                print(f"{corpus.name if corpus else text}: {stop}", file=sys.stderr, flush=True)
                counts[stop], said = measure(program, text, vocab_size, stop)
    units = {"byte": said["bytes"], "merge": said["merges"], "token": 256 + said["merges"]}
    phases = {}
    for phase, (before, unit) in PHASES[kind].items():
        n = counts[phase] - counts[before]
        each = round(n / max(1, units[unit]), 2 if unit == "byte" else 1)
        phases[phase] = {"instructions": n, f"per_{unit}": each}
    return {
        "text": corpus.name if corpus else "generated",
        "bytes": said["bytes"],
        "vocab_size": vocab_size,
        "merges": said["merges"],
        "phases": phases,
        "versions": versions(),
    }


def key(of: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two records comparable."""
    return of["text"], of["bytes"], of["vocab_size"]


def load(path: Path, kind: str = TRAINING) -> list[dict[str, Any]]:
    """The records of one kind; none if there is no file. Raises Failed for another schema."""
    if not path.exists():
        return []
    data = json.loads(path.read_text())
    if data.get("schema") != SCHEMA:
        raise Failed(f"{path}: schema {data.get('schema')!r}, not {SCHEMA}; record anew")
    records: list[dict[str, Any]] = data.get(kind, [])
    return records


def save(path: Path, kind: str, records: list[dict[str, Any]]) -> None:
    """Replaces the records of one kind; writes beside the file and renames."""
    kinds = {other: load(path, other) for other in PHASES} | {kind: records}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps({"schema": SCHEMA, **kinds}, indent=2) + "\n")
    beside.replace(path)


def show(new: dict[str, Any], old: dict[str, Any] | None) -> tuple[str, float]:
    """A table of the counts and their change in percent, and the greatest change."""
    rows = []
    worst = float("-inf")
    for name, phase in new["phases"].items():
        per = next(key for key in phase if key.startswith("per_"))
        each = f"{phase[per]:,} {per.replace('_', ' ')}"
        row = [name, f"{phase['instructions']:,}", each]
        if old is None:
            rows.append([*row, "not recorded"])
            continue
        before = old["phases"][name]["instructions"]
        change = 100 * (phase["instructions"] / before - 1) if before else float("inf")
        worst = max(worst, change)
        rows.append([*row, f"{change:+.2f} %"])
    title = f"{new['text']}, {new['bytes']:,} bytes, vocabulary {new['vocab_size']:,}"
    title += f", {new['merges']:,} merges"
    if old is not None and old["versions"] != new["versions"]:
        title += f"\nrecorded with other versions: {old['versions']}"
    return f"{title}\n{table(['phase', 'instructions', 'each', 'change'], rows)}", worst


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--encoding", action="store_true", help="count encoding, not training")
    parser.add_argument("--corpus", nargs="*", type=Path, default=[], help="files, also")
    parser.add_argument("--bytes", type=int, default=4_000_000, help="of the generated text")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--check", action="store_true", help="compare, record nothing")
    parser.add_argument("--tolerance", type=float, default=2.0, metavar="PERCENT")
    parser.add_argument("--record", type=Path, default=RECORD, metavar="FILE")
    args = parser.parse_args(argv)
    kind = ENCODING if args.encoding else TRAINING
    try:
        records = {key(old): old for old in load(args.record, kind)}
        program = build()
        bad = False
        for corpus in [None, *args.corpus]:
            new = record(program, kind, corpus, args.bytes, args.vocab_size)
            old = records.get(key(new))
            text, worst = show(new, old)
            print(text, flush=True)
            bad |= old is None or worst > args.tolerance
            records[key(new)] = new
        if args.check:
            return int(bad)
        save(args.record, kind, list(records.values()))
        return 0
    except Failed as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
