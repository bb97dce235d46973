"""Documents, written to files in all the ways they can be split."""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

BOS = "<|bos|>"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "was",
    "he",
    "for",
    "on",
    "with",
    "as",
    "his",
]


def texts(random: random.Random, n: int, longest: int = 90) -> list[str]:
    """Documents of very different lengths."""
    return [
        " ".join(random.choices(WORDS, k=random.choice([1, 2, random.randint(1, longest)])))
        for _ in range(n)
    ]


def write_parquet(path: Path, groups: Sequence[Sequence[str | None]], column: str = "text") -> None:
    """A file of these row groups, which may be empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.int64()), (column, pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in groups:
            table = pa.table([list(range(len(group))), list(group)], schema=schema)
            writer.write_table(table, row_group_size=max(len(group), 1))


def cut(random: random.Random, items: Sequence[str], n: int) -> list[list[str]]:
    """`items` in `n` parts, some of which may be empty."""
    at = sorted(random.choices(range(len(items) + 1), k=n - 1))
    return [list(items[a:b]) for a, b in zip([0, *at], [*at, len(items)], strict=True)]


def write_corpus(random: random.Random, folder: Path, documents: Sequence[str]) -> None:
    """Writes the documents to files of all kinds, whose names sort in the documents' order.

    Nulls and empty texts are among them, which are no documents.
    """
    parts = [part for part in cut(random, documents, random.randint(1, 5)) if part]
    for number, part in enumerate(parts):
        kind = random.choice(["parquet", "parquet", "parquet", "jsonl", "txt.gz", "jsonl.zst"])
        path = folder / f"part_{number:03}.{kind}"
        if kind == "parquet":
            groups: list[list[str | None]] = [
                [*group] for group in cut(random, part, random.randint(1, 4))
            ]
            for group in groups:
                for _ in range(random.randint(0, 2)):
                    group.insert(random.randint(0, len(group)), random.choice([None, ""]))
            write_parquet(path, groups)
            continue
        if kind == "txt.gz":
            path.write_bytes(gzip.compress(BOS.join(part).encode()))
            continue
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part).encode()
        if kind == "jsonl.zst":
            import zstandard

            lines = zstandard.ZstdCompressor().compress(lines)
        path.write_bytes(lines)
