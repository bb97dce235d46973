"""`make demo`: a tokenizer trained on the Python standard library's source."""

from __future__ import annotations

import argparse
import sys
import sysconfig
import time
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

from bytemill import BpeTrainer, Tokenizer
from bytemill.data import iter_documents
from scripts import report
from scripts.progress import Progress

SPECIAL = "<|endoftext|>"
SAMPLE = '''\
def fibonacci(n: int) -> int:
    """The n-th number: 0, 1, 1, 2, 3, 5, 8, ..."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
'''
# One file in so many is held out, chosen by a hash of its name.
HELD_OUT_EVERY = 20


def source_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The Python source below `folder`, to train on and held out; installed packages left out."""
    train: list[Path] = []
    held_out: list[Path] = []
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and "-packages/" not in name:
            chosen = zlib.crc32(name.encode()) % HELD_OUT_EVERY == 0
            (held_out if chosen else train).append(path)
    return train, held_out


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__)
    parser.add_argument("--out", default="runs/demo/tokenizer", metavar="DIR")
    parser.add_argument("--vocab-size", type=int, default=8192, metavar="N")
    args = parser.parse_args(argv)
    folder = Path(sysconfig.get_path("stdlib"))
    train_files, held_out = source_files(folder)
    if not train_files:
        print(f"error: {folder} holds no Python source", file=sys.stderr)
        return 2
    try:
        run(train_files, held_out, args.vocab_size, Path(args.out))
    except KeyboardInterrupt:
        print("interrupted: no tokenizer was written", file=sys.stderr)
        return 130
    return 0


def run(train_files: list[Path], held_out: list[Path], vocab_size: int, out: Path) -> None:
    """Trains, saves, loads, and prints what came of it."""
    began = time.perf_counter()
    trainer = BpeTrainer(pattern="gpt2", special_tokens=[SPECIAL])
    # The library's own tests hold files in other encodings on purpose.
    with Progress("count", "MB") as bar:
        trainer.feed_files(train_files, errors="replace", progress=bar.update)
    counted = time.perf_counter()
    with warnings.catch_warnings(record=True), Progress("merge", "merges") as bar:
        tokenizer = trainer.train(vocab_size, progress=bar.update)
    trained = time.perf_counter()
    tokenizer.save(out)
    tokenizer = Tokenizer.load(out)

    counts = trainer.counts
    documents = list(iter_documents(held_out, errors="replace")) if held_out else []
    print("A tokenizer from the Python standard library's source\n")
    lines = [
        ("text", f"{len(train_files):,} files, {report.megabytes(counts.n_bytes)}"),
        ("counted", f"{len(counts):,} distinct pretokens in {counted - began:.2f} s"),
        ("merged", f"{len(tokenizer.vocab):,} tokens in {trained - counted:.2f} s"),
        ("held out", str(report.compression(tokenizer, documents))),
        *report.labelled("longest tokens", report.longest_tokens(tokenizer, 3)),
        ("fingerprint", tokenizer.fingerprint),
        ("saved in", str(out)),
    ]
    peak = report.peak_memory()
    if peak is not None:
        lines.insert(3, ("peak memory", report.megabytes(peak)))
    print(report.rows(lines))
    show_sample(tokenizer)


def show_sample(tokenizer: Tokenizer) -> None:
    """Encodes the sample, shows where its tokens end, and decodes it."""
    text = SAMPLE + SPECIAL
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids) != text:
        raise AssertionError("decoding does not give the text that was encoded")
    print(f"\nA sample: {len(text)} characters, {len(ids)} tokens, divided by |\n")
    pieces = "|".join(tokenizer.decode([id_]) for id_ in ids)
    print("\n".join("    " + line for line in pieces.split("\n")))
    print("\nThe same as ids, which decode to the text again:\n")
    shown = " ".join(map(str, ids[:16]))
    print(f"    {shown} ... {ids[-1]}")


if __name__ == "__main__":
    sys.exit(main())
