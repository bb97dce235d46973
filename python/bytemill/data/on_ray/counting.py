"""Counting pretokens in a cluster."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from bytemill import patterns
from bytemill._arguments import check_limit, check_special_tokens
from bytemill._core import Counts
from bytemill.data.documents import Progress, check_errors
from bytemill.data.on_ray import work
from bytemill.data.on_ray.cluster import Tasks, Workers, connect
from bytemill.data.on_ray.job import CountJob
from bytemill.data.on_ray.reading import TextForm
from bytemill.data.on_ray.source import Input, source_of

_PART_BYTES: Final = 1 << 27
"""Where the caller says nothing: less has nearly as many counts, to be sent and added up."""
_FAN: Final = 8
"""How many counts a task adds up."""


class _Counted(NamedTuple):
    """What a task has counted."""

    level: int
    """0 for a part, 1 for eight parts added up, and so on."""
    size: int
    """Bytes of the part."""


def count(
    files_or_dataset: Input,
    *,
    pattern: str = "gpt2",
    special_tokens: Iterable[str] = (),
    doc_cap: int | None = None,
    text_column: str = "text",
    errors: str = "strict",
    part_bytes: int | None = None,
    num_cpus: int = 1,
    max_retries: int = 3,
    progress: Progress | None = None,
) -> Counts:
    """Counts pretokens on a Ray cluster: what `BpeTrainer.feed_files` counts on one machine.

    Each part of the text is a task whose result is its counts; other tasks add these up, eight at
    a time, so that few are left for the driver to add, one after another. A result
    belongs to a part and does not depend on who computes it: of a worker that dies the task is done
    again, and no part counts twice or not at all.

        trainer = BpeTrainer(pattern="cl100k", special_tokens=["<|endoftext|>"])
        counts = on_ray.count("corpus/", pattern="cl100k", special_tokens=["<|endoftext|>"])
        trainer.add_counts(counts)
        tokenizer = trainer.train(65_536)

    Args:
        files_or_dataset: Paths, folders or globs as for `bytemill.data.expand_inputs`, which all
            nodes see under the same paths; or a `ray.data.Dataset` with a column of text.
        pattern: How text is cut: a name or a regex, as for `BpeTrainer` (with superwords, what its
            `pat_str` is).
        special_tokens: Strings that separate documents and are not counted.
        doc_cap: Count at most this many characters of each document.
        text_column: The key (.jsonl) or column (.parquet, dataset) that holds the text.
        errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads U+FFFD.
        part_bytes: Bytes of a part, about; if None a 64th of all files, from 128 to 512 MiB, of a
            dataset 128 MiB. The result does not depend on it.
        num_cpus: CPUs, and threads, of a task. While no node has as many, tasks wait five minutes,
            with a warning, for one that an autoscaler may start.
        max_retries: How often a task is done again when its worker dies; -1 for ever.
        progress: Called a few times a second with the bytes counted and all bytes of the files, on
            disk; of a dataset those that are known. What it raises ends the call.

    Returns:
        The counts, for `BpeTrainer.add_counts` and `Counts.save`.

    Raises:
        ImportError: Ray is not installed, or a package that reading a file needs.
        ConnectionError: There is no cluster that could be reached; see `connect`.
        ClusterError: A worker has another bytemill, or died each time; no node has `num_cpus`.
        FileNotFoundError, PermissionError: A path cannot be read, here or by a worker.
        ValueError: A file is truncated, corrupt, not UTF-8, or lacks the column, or so does the
            dataset; an argument is out of range; a pipe is named.
    """
    check_errors(errors)
    special = check_special_tokens(special_tokens)
    check_limit("part_bytes", part_bytes)
    workers = Workers(check_limit("num_cpus", num_cpus) or 1, max_retries)
    form = TextForm(text_column, errors, tuple(special))
    source = source_of(files_or_dataset, form, part_bytes, _PART_BYTES)
    connect()
    job = CountJob(
        key=secrets.token_hex(16),
        form=form,
        num_threads=workers.num_cpus,
        pattern=patterns.canonical(pattern),
        doc_cap=check_limit("doc_cap", doc_cap),
    )
    tasks = Tasks(job, workers)
    calls = (
        (_Counted(0, share.size), work.count, index, share.content, *share.blocks)
        for index, share in enumerate(source.shares(form.marks))
    )
    waiting: dict[int, list[Any]] = {}
    done = 0
    with tasks.cancelling():
        for (level, size), _, counts in tasks.run(calls):
            there = waiting.setdefault(level, [])
            there.append(counts)
            if len(there) == _FAN:
                tasks.start(_Counted(level + 1, 0), work.add_up, *there)
                there.clear()
            done += size
            if progress is not None:
                progress(done, max(source.size, done))
        left = itertools.chain.from_iterable(waiting.values())
        return work.sum_of(map(tasks.get, left), job)
