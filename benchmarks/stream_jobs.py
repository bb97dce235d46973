"""The work of `benchmarks.stream`, each in a fresh process; see `benchmarks.measure`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401

from benchmarks.job import Job, memory
from bytemill import Tokenizer
from bytemill.data import iter_documents
from bytemill.lm.batches.stream.documents import FileDocuments
from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.batches.stream.packing import Packing
from bytemill.lm.batches.stream.rows import StreamRows

BOS = "<|bos|>"
_IMPORTED = memory()[0]
"""Resident bytes with torch and pyarrow imported, and nothing done."""


def _rows(corpus: str, tokenizer: str, packing: Packing, length: int, threads: int) -> StreamRows:
    loaded = Tokenizer.load(tokenizer)
    bos_id = loaded.special_tokens[BOS]
    documents = FileDocuments(corpus)
    return StreamRows(documents, loaded, length, bos_id=bos_id, packing=packing, threads=threads)


def equality(corpus: str, tokenizer: str, rows: int, length: int) -> Job:
    """Whether the first rows' targets are the documents, encoded one by one."""
    stream = _rows(corpus, tokenizer, "documents", length, 2)
    loaded = Tokenizer.load(tokenizer)
    bos_id = loaded.special_tokens[BOS]

    def run() -> bool:
        ids, targets = np.empty((2, length), np.int64)
        found: list[int] = []
        for _ in range(rows):
            stream.fill(ids, targets)
            if targets[0] != -1 and not (found and found[-1] == bos_id):
                found.append(bos_id)
            found += targets[targets != -1].tolist()
        wanted: list[int] = []
        for text in iter_documents(corpus):
            wanted += [bos_id, *loaded.encode_ordinary(text)]
            if len(wanted) >= len(found):
                break
        stream.close()
        return found == wanted[: len(found)]

    return Job(run, lambda equal: {"equal": equal})


def deliver(
    corpus: str, tokenizer: str, packing: Packing, batch_size: int, length: int, threads: int
) -> Job:
    """One epoch in batches, or a million batches if that is less."""
    rows = _rows(corpus, tokenizer, packing, length, threads)
    loader = StreamLoader([rows], batch_size)
    loader.next_batch()

    def run() -> dict[str, Any]:
        processor = time.process_time()
        n = 0
        resident: list[int | None] = []
        while rows.snapshot().following.epoch == 0:
            loader.next_batch()
            n += batch_size * length
            if n // (1 << 26) > len(resident):
                resident.append(memory()[0])
        return {
            "tokens": n,
            "processor_seconds": time.process_time() - processor,
            "resident_bytes": resident,
            "imported_bytes": _IMPORTED,
            "dropped": rows.dropped,
        }

    return Job(run, lambda result: result)


def size_of(folder: Path) -> int:
    """Bytes of the parquet files in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.parquet"))
