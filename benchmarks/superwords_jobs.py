"""The work of `benchmarks.superwords`, each in a fresh process; see `benchmarks.measure`."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.documents import SEPARATOR, documents
from benchmarks.job import Job
from bytemill import BpeTrainer, Tokenizer

PASSES = 3
Merge = tuple[bytes, bytes]


def _joined(parts: list[bytes], merge: Merge) -> list[bytes]:
    """One merge wherever it applies, from the left."""
    out: list[bytes] = []
    i = 0
    while i < len(parts):
        width = 2 if tuple(parts[i : i + 2]) == merge else 1
        out.append(b"".join(parts[i : i + width]))
        i += width
    return out


def _learn(words: Counter[tuple[bytes, ...]], merges: list[Merge], n_merges: int) -> None:
    """Adds merges, the most frequent pair first, of equals the greater, counting all each time."""
    while len(merges) < n_merges:
        pairs: Counter[Merge] = Counter()
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        if not pairs:
            return
        merges.append(max((n, pair) for pair, n in pairs.items())[1])
        joined: Counter[tuple[bytes, ...]] = Counter()
        for word, n in words.items():
            joined[tuple(_joined([*word], merges[-1]))] += n
        words = joined


def naive_merges(text: str, n_first: int, n_merges: int, first: str, spans: str) -> list[Merge]:
    """Two stages by their definition: `n_first` merges within pretokens, the rest within spans."""
    import regex  # type: ignore[import-untyped]

    def cut(pattern: str, text: str) -> list[str]:
        return [m[0] for m in regex.finditer(pattern, text) if m[0]]

    def as_bytes(text: str) -> tuple[bytes, ...]:
        return tuple(bytes([byte]) for byte in text.encode())

    all_spans = cut(spans, text)
    merges: list[Merge] = []
    pretokens = (as_bytes(word) for span in all_spans for word in cut(first, span))
    _learn(Counter(pretokens), merges, n_first)
    words: Counter[tuple[bytes, ...]] = Counter()
    for span, n in Counter(all_spans).items():
        parts = [*as_bytes(span)]
        for merge in merges:
            parts = _joined(parts, merge)
        words[tuple(parts)] += n
    _learn(words, merges, n_merges)
    return merges


def equality(paths: list[str], pattern: str, characters: int) -> Job:
    """Whether training on the first characters gives the naive merges."""
    text = next(iter(documents(paths)))[:characters]
    plain = Tokenizer.train([""], 256, pattern=pattern).pat_str

    def run() -> bool:
        trainer = BpeTrainer(pattern=pattern, superwords_from=256 + 150)
        trainer.feed([text])
        found = trainer.train(256 + 250)
        return found.merges == naive_merges(text, 150, 250, plain, found.pat_str)

    return Job(run, lambda equal: {"equal": equal})


def train(
    paths: list[str],
    pattern: str,
    vocab_size: int,
    superwords_from: int | None,
    threads: int,
    folder: str,
) -> Job:
    """Training from files, with superwords or without; the tokenizer is saved afterwards."""

    def run() -> tuple[Tokenizer, float]:
        processor = time.process_time()
        trainer = BpeTrainer(
            pattern=pattern,
            special_tokens=[SEPARATOR],
            superwords_from=superwords_from,
            num_threads=threads,
        )
        trainer.feed_files(paths)
        return trainer.train(vocab_size), time.process_time() - processor

    def outcome(done: tuple[Tokenizer, float]) -> dict[str, float]:
        done[0].save(folder)
        return {"processor_seconds": done[1]}

    return Job(run, outcome)


def digest(ids: Iterable[int]) -> str:
    """Of ids, to compare them between processes."""
    import numpy as np

    return hashlib.sha256(np.fromiter(ids, np.uint32).tobytes()).hexdigest()


def encode(folder: str, path: str, characters: int) -> Job:
    """Passes over a file as one text, and what the ids of its beginning are."""
    tokenizer = Tokenizer.load(folder)
    text = Path(path).read_text("utf-8", "replace")
    tokenizer.encode_to_numpy("a b")

    def run() -> dict[str, Any]:
        figures = []
        n_ids = 0
        for _ in range(PASSES):
            start = time.process_time()
            ids = tokenizer.encode_to_numpy(text)
            figures.append(time.process_time() - start)
            n_ids = len(ids)
            del ids
        return {"processor_seconds": figures, "ids": n_ids}

    def outcome(found: dict[str, Any]) -> dict[str, Any]:
        head = tokenizer.encode(text[:characters])
        return {**found, "bytes": len(text.encode()), "digest": digest(head)}

    return Job(run, outcome)


def encode_elsewhere(folder: str, path: str, characters: int) -> Job:
    """The beginning of a file by `tokenizers`, from the exported tokenizer.json."""
    import tokenizers

    exported = Path(folder, "exported.json")
    Tokenizer.load(folder).to_huggingface(exported)
    theirs = tokenizers.Tokenizer.from_file(str(exported))
    text = Path(path).read_text("utf-8", "replace")[:characters]
    theirs.encode("a b")

    def run() -> tuple[list[int], float]:
        start = time.process_time()
        ids = theirs.encode(text, add_special_tokens=False).ids
        return ids, time.process_time() - start

    def outcome(done: tuple[list[int], float]) -> dict[str, Any]:
        return {
            "processor_seconds": done[1],
            "bytes": len(text.encode()),
            "digest": digest(done[0]),
        }

    return Job(run, outcome)
