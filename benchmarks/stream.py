"""Speed and memory of the streaming source: parquet -> batches of ids.

    python -m benchmarks.stream --corpus books.txt code.txt --gigabytes 3

The parquet files are made of the documents of the corpora, cut at random places, with made-up
words among the others (one in 400 characters, 100,000 of them in a shard), so that no cache is
flattered: shards of 250 million characters, row groups of 1,024 documents, zstd level 3, as in the
datasets that `bytemill download` knows. Beforehand it is checked that the first rows are the
documents' ids.

Printed are tokens a second by the clock and by processor time (on two cores, what two quiet ones
could do at most), the peak of memory above that of a process that has only imported torch and
pyarrow, that memory, and the resident memory after the first and the last 64 million tokens. The
exit status is 1 if bytemill fails or is not equal.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.documents import documents
from benchmarks.measure import Run, run_fresh
from benchmarks.report import note, table
from benchmarks.stream_jobs import BOS, size_of
from bytemill import Tokenizer

_GROUP = 1024
_SHARD = 250_000_000
_WORDS = 100_000
_MEAN = 2_600
"""Characters in a document, the mean of FineWeb-Edu's shards: 250 million in some 94 groups."""


def varied(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Documents without end: pieces of the texts, with words of their own."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=7)) for _ in range(_WORDS)]
    whole = "\n".join(texts)
    while True:
        # Lengths spread as those of web pages: many short ones, few very long ones.
        length = min(int(rng.lognormvariate(0, 0.9) * _MEAN / 1.5) + 50, 100_000)
        at = rng.randrange(max(len(whole) - length, 1))
        parts = []
        for start in range(at, at + length, 400):
            parts.append(whole[start : min(start + 400, at + length)])
            parts.append(" " + rng.choice(words))
        yield "".join(parts)


def make(corpora: Sequence[str], out: Path, n_bytes: int) -> None:
    """Writes shards until there are `n_bytes` of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = list(documents(corpora))
    schema = pa.schema([("text", pa.string())])
    shard = len(list(out.glob("*.parquet")))
    while size_of(out) < n_bytes:
        source = varied(texts, shard)
        path = out / f"shard_{shard:05}.parquet"
        characters = 0
        options = {"compression": "zstd", "compression_level": 3, "write_statistics": False}
        with pq.ParquetWriter(path, schema, **options) as writer:
            while characters < _SHARD:
                group = [next(source) for _ in range(_GROUP)]
                characters += sum(map(len, group))
                writer.write_table(pa.table([group], schema=schema))
        shard += 1
        note(f"{path.name}: {size_of(out) / 1e9:.2f} of {n_bytes / 1e9:.2f} GB")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", nargs="+", required=True, help="plain text files, documents separated")
    add("--gigabytes", type=float, default=3.0, help="of parquet")
    add("--folder", type=Path, help="keep the parquet files there, and use what is there")
    add("--vocab-size", type=int, default=32768)
    add("--batch-size", type=int, default=32)
    add("--context-length", type=int, default=2048)
    add("--threads", type=int, default=2)
    add("--cores", type=int, default=2)
    add("--markdown", action="store_true")
    args = parser.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="bench-stream-"))
    try:
        return measure(args, folder)
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(args: argparse.Namespace, folder: Path) -> int:
    """Makes what is missing, checks, measures, prints."""
    corpus, tokenizer = folder / "corpus", folder / "tokenizer"
    corpus.mkdir(parents=True, exist_ok=True)
    if not tokenizer.exists():
        special = [BOS]
        texts = documents(args.corpus)
        Tokenizer.train(texts, args.vocab_size, special, pattern="nanochat").save(tokenizer)
    make(args.corpus, corpus, int(args.gigabytes * 1e9))
    common = {"corpus": str(corpus), "tokenizer": str(tokenizer), "length": args.context_length}
    run = fresh("equality", {**common, "rows": 200}, args.cores)
    equal = bool(run.outcome and run.outcome["equal"])
    print(f"equal: {'yes' if equal else f'NO {run.error or run.absent or str()}'}")
    status = 0 if equal else 1
    rows = []
    for packing in ("documents", "best-fit"):
        note(f"one epoch, {packing}")
        more = {"packing": packing, "batch_size": args.batch_size, "threads": args.threads}
        run = fresh("deliver", {**common, **more}, args.cores)
        if run.outcome is None or run.seconds is None:
            rows.append([packing, f"failed: {run.error or run.absent}", *[""] * 6])
            status = 1
            continue
        rows.append([packing, *cells(run, args.cores)])
    title = f"{size_of(corpus) / 1e9:.2f} GB of parquet, {args.context_length} ids in a row"
    print(f"\n**{title}**\n" if args.markdown else f"\n{title}")
    head = ["rows", "million tokens", "by the clock, M/s", f"by processor time x {args.cores}, M/s"]
    head += ["peak, MB", "imports, MB", "resident, MB", "dropped"]
    print(table(head, rows, markdown=args.markdown))
    return status


def cells(run: Run, cores: int) -> list[str]:
    """What a run came to."""
    found = run.outcome
    millions = found["tokens"] / 1e6
    resident = [f"{n / 1e6:,.0f}" for n in found["resident_bytes"] if n is not None]
    return [
        f"{millions:,.0f}",
        f"{millions / (run.seconds or 1):.2f}",
        f"{cores * millions / found['processor_seconds']:.2f}",
        f"{((run.peak_bytes or 0) - (found['imported_bytes'] or 0)) / 1e6:,.0f}",
        f"{(found['imported_bytes'] or 0) / 1e6:,.0f}",
        f"{resident[0]} to {resident[-1]}" if resident else "",
        f"{found['dropped']:.1%}",
    ]


def fresh(job: str, arguments: dict[str, Any], cores: int) -> Run:
    """One process."""
    return run_fresh(
        f"benchmarks.stream_jobs:{job}",
        arguments,
        distribution="torch",
        cores=cores,
        want_outcome=True,
    )


if __name__ == "__main__":
    sys.exit(main())
