"""A soak: random operations for as long as one likes, each checked against naive versions.

    python -m tests.soak --minutes 30

Two processes of four threads each encode, decode and stream text, train, extend and prune
tokenizers, save and load them in folders that all of them share, hand them to transformers, encode
files to shards and write checkpoints. Children are killed (SIGKILL) while they write, and disks run
full (a small tmpfs where one can be mounted, or else a limit on the size of files). pytest does not
collect it. It needs Linux or macOS.

The exit status is 0 if nothing failed. Each failure is printed with the seed that chose it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from bytemill import Tokenizer
from tests.soak.expected import PATTERNS, SPECIAL, SUPERWORDS
from tests.soak.operations import Soak
from tests.support.vocabularies import generated_text

PROCESSES = 2
SIZES = (300, 400, 490)
DISK = 3_000_000
"""Bytes of the disk that runs full."""


@contextlib.contextmanager
def small_disks(work: Path):
    """A small disk for each process, where one can be mounted; None for each where not."""
    disks: list[Path | None] = []
    for number in range(PROCESSES):
        disk = work / f"disk-{number}"
        disk.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
        try:
            is_there = subprocess.run(words, capture_output=True, check=False).returncode == 0
        except OSError:
            is_there = False
        disks.append(disk if is_there else None)
    try:
        yield disks
    finally:
        for disk in filter(None, disks):
            subprocess.run(["umount", str(disk)], check=False)


def prepare(work: Path) -> None:
    """The tokenizers that all processes use."""
    for i, pattern in enumerate(PATTERNS):
        for size in SIZES:
            tokenizer = Tokenizer.train([generated_text(i)], size, SPECIAL, pattern=pattern)
            tokenizer.save(work / f"tokenizer-{i}-{size}")
    for i in range(2):
        tokenizer.save(work / f"shared-{i}")
    superwords = Tokenizer.train([generated_text(2)], 490, SPECIAL, superwords_from=380)
    superwords.save(work / SUPERWORDS)


def main() -> int:
    """Starts the processes, waits for them, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part:
        work, disk, number, minutes = args.part
        end = time.time() + 60 * float(minutes)  # from here on: imports may take long
        Soak(Path(work), Path(disk) if disk else None, args.seed, int(number), end).run()
        return 0
    began = time.time()
    done: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, small_disks(Path(folder)) as disks:
        prepare(Path(folder))
        parts = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak", "--seed", str(args.seed), "--part", folder,
                 str(disk or ""), str(number), str(args.minutes)],
                stdout=subprocess.PIPE,
            )
            for number, disk in enumerate(disks)
        ]  # fmt: skip
        for part in parts:
            out, _ = part.communicate()
            if part.returncode:
                failures.append(f"a process ended with status {part.returncode}")
                continue
            found = json.loads(out)
            done.update(found["done"])
            failures += found["failures"]
    for failure in failures:
        print(failure)
    kind = "a tmpfs" if any(disks) else "a limit on files"
    print(f"{time.time() - began:.0f} s, seed {args.seed}, full disks by {kind}")
    for name, n in sorted(done.items()):
        print(f"{name:<24}{n:>9,}")
    print(f"{'operations':<24}{sum(n for name, n in done.items() if name[0] != '('):>9,}")
    print(f"{'failures':<24}{len(failures):>9,}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
