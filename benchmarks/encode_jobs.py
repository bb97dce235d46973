"""What `benchmarks.tok_encode` measures: one function per measurement, run in a fresh process.

Each returns a Job whose outcome is a dict: `figures` (name -> number; seconds, unless the name says
otherwise) and `digests` of what came out, for comparison with those that tiktoken gives.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.documents import documents
from benchmarks.encoders import LIBRARIES, Library, Vocabulary, digest_of_counts, digests
from benchmarks.families import FAMILIES, distinct_strings
from benchmarks.job import Job, memory

PASSES = 3
TINY = "a b"
SHORT_CHARS = 100
SHORT_STRINGS = 10_000
SHORT_BATCHES = 5
STRING_BYTES = 120_000
# After NumPy is loaded, threads of its linear algebra spin for a while, on two cores at the expense
# of whatever is timed next. For every library alike.
SETTLE_S = 0.5


def _library(library: str, vocabulary: list[str]) -> Library:
    return LIBRARIES[library](Vocabulary(*vocabulary))


def _warm(call: Callable[[Any], Any], argument: Any) -> Any:
    """Calls once with next to no text, so that no library's tables are built in a timed call."""
    call(argument)
    time.sleep(SETTLE_S)
    return call


def _timed(call: Callable[[], Any], keep: bool = True) -> tuple[dict[str, float], Any]:
    """Times each pass; a result is freed, outside the time, before the next pass."""
    figures: dict[str, float] = {}
    result = None
    for i in range(1, PASSES + 1):
        result = None
        start = time.perf_counter()
        result = call()
        figures[f"pass_{i}"] = time.perf_counter() - start
    return figures, result if keep else None


def reference(vocabulary: list[str], paths: list[str]) -> Job:
    """tiktoken's ids, not timed."""
    batch = _library("tiktoken", vocabulary).batch(None)
    return Job(lambda: batch(list(documents(paths))), lambda result: {"digests": digests(result)})


def passes(
    library: str, way: str, vocabulary: list[str], paths: list[str], threads: int | None
) -> Job:
    """Passes over the corpus by "files", "batch" or "count".

    Libraries without a file reader get the documents as a list, made before.
    """
    made = _library(library, vocabulary)
    if way == "files":
        files = made.files()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            tiny = Path(folder, "tiny.txt")
            tiny.write_text(TINY)
            _warm(files, [str(tiny)])
        call = lambda: files(paths)  # noqa: E731
    else:
        batch = _warm(made.batch(threads) if way == "batch" else made.count(threads), [TINY])
        texts = list(documents(paths))
        call = lambda: batch(texts)  # noqa: E731

    def outcome(done: tuple[dict[str, float], Any]) -> Any:
        figures, result = done
        found = {"counts": digest_of_counts(result)} if way == "count" else digests(result)
        return {"figures": figures, "digests": found}

    return Job(lambda: _timed(call), outcome)


def lists(library: str, vocabulary: list[str], paths: list[str]) -> Job:
    """A Python list for each document, one after another; each is dropped before the next."""
    text = _warm(_library(library, vocabulary).text(), TINY)
    texts = list(documents(paths))

    def call() -> None:
        for item in texts:
            text(item)

    def outcome(done: tuple[dict[str, float], Any]) -> Any:
        # The lists of the timed passes are gone: they would fill the memory.
        return {"figures": done[0], "digests": digests([text(item) for item in texts])}

    return Job(lambda: _timed(call), outcome)


def _strings(paths: list[str], n: int) -> list[str]:
    """Strings of `SHORT_CHARS` characters from all over the corpus, always the same."""
    whole = "".join(documents(paths))
    rng = random.Random(100)
    starts = (rng.randrange(max(1, len(whole) - SHORT_CHARS)) for _ in range(n))
    return [whole[at : at + SHORT_CHARS] for at in starts]


def short(library: str, vocabulary: list[str], paths: list[str]) -> Job:
    """Single calls of short strings, each timed, after as many other strings."""
    text = _library(library, vocabulary).text()
    strings = _strings(paths, 2 * SHORT_STRINGS)

    def run() -> list[int]:
        clock = time.perf_counter_ns
        for item in strings[:SHORT_STRINGS]:
            text(item)
        times = []
        for item in strings[SHORT_STRINGS:]:
            start = clock()
            text(item)
            times.append(clock() - start)
        return times

    def outcome(times: list[int]) -> Any:
        times.sort()
        figures = {
            "median": times[len(times) // 2] / 1e9,
            "p99": times[len(times) * 99 // 100] / 1e9,
        }
        return {"figures": figures, "digests": digests([text(item) for item in strings])}

    return Job(run, outcome)


def short_batch(library: str, vocabulary: list[str], paths: list[str], threads: int | None) -> Job:
    """Batches of short strings, other ones in each."""
    batch = _warm(_library(library, vocabulary).batch(threads), [TINY])
    strings = _strings(paths, SHORT_BATCHES * SHORT_STRINGS)
    cut = [strings[i : i + SHORT_STRINGS] for i in range(0, len(strings), SHORT_STRINGS)]

    def run() -> list[float]:
        times = []
        for part in cut:
            start = time.perf_counter()
            result = batch(part)
            times.append(time.perf_counter() - start)
            del result
        return times

    def outcome(times: list[float]) -> Any:
        figures = {"median": statistics.median(times), "first": times[0]}
        found = digests(batch(strings[: 2 * SHORT_STRINGS]))
        return {"figures": figures, "digests": found}

    return Job(run, outcome)


def short_reference(vocabulary: list[str], paths: list[str]) -> Job:
    """tiktoken's ids of the short strings."""
    text = _library("tiktoken", vocabulary).text()
    strings = _strings(paths, SHORT_BATCHES * SHORT_STRINGS)[: 2 * SHORT_STRINGS]
    return Job(
        lambda: [text(item) for item in strings], lambda result: {"digests": digests(result)}
    )


def decode(library: str, vocabulary: list[str], paths: list[str]) -> Job:
    """The documents' ids, from tiktoken, back to text; one call per document, one thread."""
    call = _warm(_library(library, vocabulary).decode(), [97])
    texts = list(documents(paths))
    encode = _library("tiktoken", vocabulary).text()
    ids = [encode(text) for text in texts]

    def run() -> dict[str, float]:
        return _timed(lambda: [call(item) for item in ids], keep=False)[0]

    def outcome(figures: dict[str, float]) -> Any:
        # In place of a digest: what the text must be is at hand.
        equal = all(_text(call(a)) == b for a, b in zip(ids, texts, strict=True))
        return {"figures": figures, "equal": equal}

    return Job(run, outcome)


def _text(result: Any) -> str:
    return result if isinstance(result, str) else bytes(result).decode(errors="replace")


def disk(library: str, way: str, vocabulary: list[str], paths: list[str]) -> Job:
    """Files to token shards on disk, or to memory; once, so that the peak is that of one pass."""
    made = _library(library, vocabulary)
    if way == "memory":
        files = made.files()
        return Job(lambda: files(paths), lambda result: {"digests": digests(result)})
    write = made.disk()
    folder = tempfile.TemporaryDirectory(prefix="bench-")
    return Job(lambda: write(paths, f"{folder.name}/shards"), lambda _: {"folder": folder.name})


def memory_growth(library: str, vocabulary: list[str], n_strings: int) -> Job:
    """Distinct strings, one call each, in ten batches; the making of strings is not timed."""
    text = _library(library, vocabulary).text()
    strings = distinct_strings(STRING_BYTES)
    for _ in range(3):
        text(next(strings))  # what a first call sets up

    def run() -> tuple[list[float], int, int]:
        before, _ = memory()
        times, most = [], 0
        for _ in range(10):
            took = 0.0
            for _ in range(n_strings // 10):
                item = next(strings)
                start = time.perf_counter()
                text(item)
                took += time.perf_counter() - start
            times.append(took)
            now, _ = memory()
            most = max(most, now or 0)
        return times, before or 0, most

    def outcome(done: tuple[list[float], int, int]) -> Any:
        times, before, most = done
        figures = {
            "median_batch": statistics.median(times),
            "worst_batch": max(times),
            "growth_bytes": most - before,
        }
        return {"figures": figures}

    return Job(run, outcome)


def linear(library: str, vocabulary: list[str], family: str, n: int) -> Job:
    """One call of a hard text, and of one twice as long; the best of five each."""
    text = _library(library, vocabulary).text()
    make = FAMILIES[family]
    half, whole = make(n), make(2 * n)
    _warm(text, TINY)

    def run() -> dict[str, float]:
        # Processor time, in turns: a ratio of two short times bears no disturbance of one of them.
        times: dict[str, list[float]] = {"half": [], "whole": []}
        for _ in range(5):
            for name, item in (("half", half), ("whole", whole)):
                start = time.process_time()
                text(item)
                times[name].append(time.process_time() - start)
        return {name: min(of) for name, of in times.items()}

    return Job(run, lambda figures: {"figures": figures, "digests": digests([text(half)])})
