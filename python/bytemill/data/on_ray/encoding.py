"""Encoding to shards in a cluster."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from bytemill._arguments import check_limit
from bytemill.data.documents import Progress
from bytemill.data.encode_files import SHARD_TOKENS, SeparatorAt, check_settings, choose_dtype
from bytemill.data.identity import Identity
from bytemill.data.on_ray import assembly, work
from bytemill.data.on_ray.assembly import End, Plan, Planner
from bytemill.data.on_ray.cluster import Call, Tasks, Workers, connect
from bytemill.data.on_ray.job import EncodeJob, HasVocabulary, Job
from bytemill.data.on_ray.reading import TextForm
from bytemill.data.on_ray.source import Blocks, Files, Input, source_of
from bytemill.data.shard_run import NOTHING_DONE, PARTS_NAME, ShardRun
from bytemill.data.shards import SPLITS, Dtype, Manifest, Shard
from bytemill.files import named, naming_full_disk, new_folder, write_bytes

_PART_BYTES: Final = 1 << 25
_DATASET: Final = "ray.data.Dataset"


def encode(
    files_or_dataset: Input,
    tokenizer: HasVocabulary,
    out_dir: str | os.PathLike[str],
    *,
    separator: str | None = None,
    separator_at: SeparatorAt = "end",
    shard_tokens: int = SHARD_TOKENS,
    validation_fraction: float = 0.0,
    dtype: Dtype | None = None,
    text_column: str = "text",
    errors: str = "strict",
    part_bytes: int | None = None,
    num_cpus: int = 1,
    max_retries: int = 3,
    progress: Progress | None = None,
) -> Manifest:
    """Encodes to token shards on a Ray cluster; the folder is what `Tokenizer.encode_files` writes,
    byte for byte.

    Workers encode parts of the text into a folder of their own each, which lies whole among the
    parts or not at all. Where shards end follows from the parts' numbers of tokens, in the order of
    the input, and workers put each together from the parts that it is made of; a part that is in
    shards is removed. So what is written twice is ids, and all but sums stays off the driver.

    A task of a worker that dies is done again, and what is there already is taken for done. A run
    over files that was killed, or failed, goes on when it is called again with the same arguments,
    here or with `Tokenizer.encode_files`. One over a dataset begins again, as its content cannot be
    compared; its manifest names no file.

    Args:
        files_or_dataset: Paths, folders or globs as for `bytemill.data.expand_inputs`, which all
            nodes see under the same paths; or a `ray.data.Dataset` with a column of text.
        tokenizer: What encodes.
        out_dir: The folder to write, on storage that all nodes see under the same path.
        separator, separator_at, shard_tokens, validation_fraction, dtype: As for
            `Tokenizer.encode_files`.
        text_column: The key (.jsonl) or column (.parquet, dataset) that holds the text.
        errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads U+FFFD.
        part_bytes: Bytes of a part, about; if None a 64th of all files, from 32 to 512 MiB, of a
            dataset 32 MiB. What is written does not depend on it.
        num_cpus, max_retries: As for `count`.
        progress: As for `count`.

    Returns:
        The manifest: counts and files.

    Raises:
        As `count`; and, as `Tokenizer.encode_files`:
        ValueError: An argument is out of range; the folder holds the output of another call, or
            another process is writing to it; a file was changed while it was read.
        DiskFullError: The disk is full; what has been finished is kept.
    """
    vocabulary = tokenizer.vocabulary
    folder = named("out_dir", out_dir)
    settings = check_settings(
        vocabulary, separator, separator_at, shard_tokens, validation_fraction, text_column, errors
    )
    dtype = choose_dtype(vocabulary, dtype)
    check_limit("part_bytes", part_bytes)
    workers = Workers(check_limit("num_cpus", num_cpus) or 1, max_retries)
    # Of another kind of tokenizer it is not known here where its special tokens are found.
    marks = () if vocabulary.shape is not None else tuple(vocabulary.special_tokens)
    form = TextForm(text_column, errors, marks)
    source = source_of(files_or_dataset, form, part_bytes, _PART_BYTES)
    connect()
    identity = _identity(source, workers) if isinstance(source, Files) else None
    plan = Manifest(
        fingerprint=vocabulary.fingerprint,
        n_vocab=vocabulary.n_vocab,
        dtype=dtype,
        settings=settings,
        inputs=[{"path": _DATASET, "size": 0, "crc32": None}]
        if identity is None
        else identity.inputs,
        splits={},
    )
    with naming_full_disk(folder, "call again"), new_folder(folder):
        run = ShardRun(folder, plan)
        with run.locked():
            # Once more: it may have been ended by another process.
            if (finished := run.finished()) is not None:
                return finished
            if run.checkpoint()[0] is None:
                run.store(NOTHING_DONE)
            job = EncodeJob(
                key=secrets.token_hex(16),
                form=form,
                num_threads=workers.num_cpus,
                tokenizer=tokenizer,
                dtype=dtype,
                separator=settings["separator_id"],
                separator_first=separator_at == "start",
                validation_fraction=settings["validation_fraction"],
                out=folder.absolute(),
                parts=_folder_of_parts(folder.absolute(), plan, source),
            )
            shards = _Encoding(job, Tasks(job, workers), source, shard_tokens, progress).run()
            if identity is not None:
                identity.check_unchanged()
            splits = [{"shards": [_numbers(shard) for shard in split]} for split in shards]
            return run.finish(json.dumps({"splits": splits}))


def _identity(source: Files, workers: Workers) -> Identity:
    def checksums() -> list[int | None]:
        tasks = Tasks(Job(key=secrets.token_hex(16)), workers)
        parts = source.whole()
        sums: dict[int, list[tuple[int, int]]] = {}
        with tasks.cancelling():
            calls = ((i, work.checksum, part) for i, part in enumerate(parts))
            for index, found, _ in tasks.run(calls):
                sums[index] = found
        by_path: dict[Path, list[tuple[int, int]]] = {}
        for index, part in enumerate(parts):
            for segment, one in zip(part, sums[index], strict=True):
                by_path.setdefault(segment.file.path, []).append(one)
        return [work.joined(by_path[file.path.absolute()]) for file in source.files]

    return Identity(source.files, checksums=checksums)


def _folder_of_parts(folder: Path, plan: Manifest, source: Files | Blocks) -> Path:
    """The folder for this very work, with what was made before if it was begun before."""
    asked: Any = secrets.token_hex(16)
    if isinstance(source, Files):
        asked = [asdict(plan), source.part_bytes]
    name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    parts = folder / PARTS_NAME / name
    if parts.parent.is_dir():
        for other in parts.parent.iterdir():
            if other != parts:
                shutil.rmtree(other, ignore_errors=True)
    parts.mkdir(parents=True, exist_ok=True)
    for left in parts.glob(".*.tmp"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return parts


def _numbers(shard: Shard) -> dict[str, int]:
    return {name: value for name, value in asdict(shard).items() if not name.endswith("file")}


class _Part(NamedTuple):
    """The tag of a task that encodes."""

    number: int
    size: int


class _Encoding:
    """One run: parts are encoded in any order, planned in theirs, put together and removed."""

    def __init__(
        self,
        job: EncodeJob,
        tasks: Tasks,
        source: Files | Blocks,
        shard_tokens: int,
        progress: Progress | None,
    ) -> None:
        self._job, self._tasks, self._source, self._progress = job, tasks, source, progress
        self._planners = [Planner(i, shard_tokens, self._find_end) for i in range(len(SPLITS))]
        self._shards: list[dict[int, Shard]] = [{} for _ in SPLITS]
        self._made: dict[int, list[work.Made]] = {}
        self._next = 0
        # How many shards that are not there yet need a part, for each split.
        self._needed: collections.Counter[tuple[int, int]] = collections.Counter()

    def run(self) -> list[list[Shard]]:
        """The shards of both splits."""
        write_bytes(self._job.parts / work.MARK, self._job.key.encode())
        done = 0
        with self._tasks.cancelling():
            for tag, result, _ in self._tasks.run(self._calls()):
                if isinstance(tag, _Part):
                    self._made[tag.number] = result
                    self._plan()
                    done += tag.size
                else:
                    self._put_down(tag, result)
                self._report(done)
            for planner in self._planners:
                self._assemble(list(planner.finish()))
            for tag, result, _ in self._tasks.run(()):
                self._put_down(tag, result)
                self._report(done)
        return [[split[index] for index in range(len(split))] for split in self._shards]

    def _report(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, max(self._source.size, done))

    def _calls(self) -> Iterator[Call]:
        for index, share in enumerate(self._source.shares(self._job.form.marks)):
            yield _Part(index, share.size), work.encode, index, share.content, *share.blocks

    def _plan(self) -> None:
        """Takes those parts before which there is no gap any more."""
        while (made := self._made.pop(self._next, None)) is not None:
            for planner, of_split in zip(self._planners, made, strict=True):
                self._assemble(list(planner.add(self._next, of_split)))
            self._next += 1

    def _assemble(self, plans: list[Plan]) -> None:
        if not plans:
            return
        self._needed.update((plan.split, piece.part) for plan in plans for piece in plan.pieces)
        self._tasks.start(plans, assembly.assemble, plans)

    def _put_down(self, plans: list[Plan], shards: list[Shard]) -> None:
        """Keeps what has been made, and removes what it was made of."""
        for plan, shard in zip(plans, shards, strict=True):
            self._shards[plan.split][plan.index] = shard
            for piece in plan.pieces:
                at = (plan.split, piece.part)
                self._needed[at] -= 1
                if not self._needed[at]:
                    del self._needed[at]
                    if piece.part not in self._planners[plan.split].open_parts:
                        self._remove(*at)

    def _remove(self, split: int, part: int) -> None:
        for path in (self._job.parts / f"{part:06}").glob(f"{SPLITS[split]}-*.npy"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _find_end(self, plan: Plan, part: int, wanted: int) -> End:
        before = assembly.end_of(self._job.parts, plan)
        if before is not None:
            return before
        return assembly.first_end(assembly.starts_of(self._job.parts, part, plan.split), wanted)
