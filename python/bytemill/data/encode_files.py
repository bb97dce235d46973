"""Input files -> ids: into memory, or as shards on disk in a run that can be taken up again.

While a run is under way its folder holds `state.json`: what was asked for, and how far it has come.
It is replaced whenever a shard is full, after the shard's data has been made to last. A run that
finds one goes on from there: data written after it is cut off and made again. At the end the state
gives way to `manifest.json`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from bytemill import _core, atomic, byte_level
from bytemill._arguments import check_limit
from bytemill.data.documents import Feeder, Progress, check_errors
from bytemill.data.inputs import InputFile, Paths, expand_inputs
from bytemill.data.shards import (
    MANIFEST_NAME,
    SPLITS,
    WIDTHS,
    Dtype,
    Manifest,
    Shard,
    check_files,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bytemill.tokenizer import Tokenizer

STATE_NAME: Final = "state.json"
LOCK_NAME: Final = ".lock"
_STATE_FORMAT: Final = "bytemill-shards-state"
_STATE_VERSION: Final = 1
SHARD_TOKENS: Final = 100_000_000

SeparatorAt = Literal["start", "end"]


class DiskFullError(OSError):
    """The disk, or the quota on it, has no room for more shards.

    What has been finished stays: with room made, the same call goes on from there.
    """


def encode_files(
    tokenizer: Tokenizer,
    paths: Paths,
    out_dir: str | os.PathLike[str],
    *,
    separator: str | None = None,
    separator_at: SeparatorAt = "end",
    shard_tokens: int = SHARD_TOKENS,
    validation_fraction: float = 0.0,
    dtype: Dtype | None = None,
    text_column: str = "text",
    errors: str = "strict",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Encodes files to token shards on disk. What it writes is told in `bytemill.data.shards`.

    A document is what `bytemill.data.iter_documents` yields with the tokenizer's special tokens:
    they separate documents and are removed; empty documents are left out. Documents keep the order
    of `expand_inputs`. What is written depends on the files, the tokenizer and the settings alone,
    not on threads or time.

    A run that was killed, or failed, goes on when it is called again with the same arguments; the
    result is the same, byte for byte, as if nothing had happened. Shards that were finished are not
    made again. A run that has ended is not repeated: its manifest is returned. Memory does not grow
    with the corpus (a document with a pattern that is no GPT-style one is in memory as a whole).

    Args:
        tokenizer: What encodes.
        paths: A path, a folder or a glob, or several; see `expand_inputs`.
        out_dir: The folder to write; made if it is not there.
        separator: A special token whose id is put at one end of each document, the last included.
        separator_at: "end", as GPT-2's <|endoftext|>, or "start", as a token that begins a
            sequence.
        shard_tokens: A shard ends with the document that makes it this long or longer; documents
            are not divided between shards.
        validation_fraction: The share of documents that goes to the split "val", from 0 to 1: those
            whose text's CRC-32, divided by 2**32, is less. It depends on a document's text alone.
        dtype: "uint16" or "uint32"; the smallest that holds the vocabulary's ids if None.
        text_column: The key (.jsonl) or column (.parquet) that holds the text.
        errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads U+FFFD.
        num_threads: Worker threads; all cores if None.
        progress: Called a few times a second with the bytes read and all bytes of the files, on
            disk. What it raises ends the call.

    Returns:
        The manifest: counts and files.

    Raises:
        FileNotFoundError, PermissionError: A path cannot be read.
        ValueError: A file is truncated, corrupt, not UTF-8, or lacks the column; `paths` is empty;
            an argument is out of range; `dtype` is too small; `separator` is no special token; the
            folder holds the output of another call (other files, settings or tokenizer), or another
            process is writing to it. The message says what to do.
        DiskFullError: The disk is full; what has been finished is kept.
        ImportError: A .parquet or .zst file needs a package that is not installed.
    """
    folder = Path(out_dir)
    check_errors(errors)
    dtype = choose_dtype(tokenizer, dtype)
    separator_id = check_separator(tokenizer, separator, separator_at)
    check_limit("num_threads", num_threads)
    files = expand_inputs(paths)
    settings = {
        "separator": separator,
        "separator_id": separator_id,
        "separator_at": separator_at if separator is not None else None,
        "shard_tokens": check_limit("shard_tokens", shard_tokens),
        "validation_fraction": check_fraction(validation_fraction),
        "text_column": text_column,
        "errors": errors,
    }
    plan = Manifest(
        fingerprint=tokenizer.fingerprint,
        n_vocab=tokenizer.n_vocab,
        dtype=dtype,
        settings=settings,
        inputs=[{"path": _text(file.path), "size": file.size} for file in files],
        splits={},
    )
    feeder = Feeder(files, text_column, errors, progress)
    with _disk_full_named(folder), _folder(folder):
        run = _Run(folder, plan, files)
        with run.locked():
            # Once more: it may have been ended by another process.
            if (finished := run.finished()) is not None:
                return finished
            checkpoint, n_done = run.checkpoint()
            last = _core.encode_shards(
                tokenizer._encoder,
                feeder.sources(n_done),
                str(folder),
                dtype,
                shard_tokens,
                run.store,
                validation_fraction=float(validation_fraction),
                checkpoint=checkpoint,
                separator=separator_id,
                separator_first=separator_at == "start",
                num_threads=num_threads,
                errors=errors,
                progress=feeder.on_source_bytes,
            )
            feeder.report()
            return run.finish(last)


def encode_files_to_numpy(
    tokenizer: Tokenizer,
    paths: Paths,
    *,
    separator: str | None = None,
    separator_at: SeparatorAt = "end",
    dtype: Dtype | None = None,
    text_column: str = "text",
    errors: str = "strict",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.unsignedinteger[Any]], npt.NDArray[np.uint64]]:
    """Encodes files to arrays in memory; `encode_files` says what the arguments mean.

    Returns:
        The ids of all documents, one after another, shape (tokens,), and where each begins, and at
        last the number of ids, shape (documents + 1,).

    Raises:
        As `encode_files`, but for what concerns its folder.
    """
    import numpy as np

    check_errors(errors)
    dtype = choose_dtype(tokenizer, dtype)
    feeder = Feeder(expand_inputs(paths), text_column, errors, progress)
    ids, ends, _ = _core.encode_corpus(
        tokenizer._encoder,
        feeder.sources(),
        dtype,
        separator=check_separator(tokenizer, separator, separator_at),
        separator_first=separator_at == "start",
        num_threads=check_limit("num_threads", num_threads),
        errors=errors,
        progress=feeder.on_source_bytes,
    )
    feeder.report()
    offsets = np.zeros(len(ends) // 8 + 1, np.uint64)
    offsets[1:] = np.frombuffer(ends, np.uint64)
    return np.frombuffer(ids, np.dtype(dtype).newbyteorder("<")), offsets


def choose_dtype(tokenizer: Tokenizer, dtype: Dtype | None) -> Dtype:
    """The type to write ids as: `dtype`, or the smallest that is large enough.

    Raises:
        ValueError: `dtype` is no type for ids, or too small for the vocabulary.
    """
    if dtype is None:
        return "uint16" if tokenizer.n_vocab <= 1 << 16 else "uint32"
    if dtype not in WIDTHS:
        raise ValueError(f'dtype={dtype!r}: it must be "uint16" or "uint32" (or None to choose)')
    if dtype == "uint16" and tokenizer.n_vocab > 1 << 16:
        raise ValueError(
            f'dtype="uint16": the vocabulary has ids up to {tokenizer.n_vocab - 1}, and 65535 is '
            'the most that 16 bits hold; pass "uint32"'
        )
    return dtype


def check_separator(tokenizer: Tokenizer, separator: str | None, at: str) -> int | None:
    """The separator's id.

    Raises:
        ValueError: It is no special token of the tokenizer, or has no such place.
    """
    if at not in ("start", "end"):
        raise ValueError(f'separator_at={at!r}: it must be "start" or "end"')
    if separator is None:
        return None
    try:
        return tokenizer.special_tokens[separator]
    except (KeyError, TypeError):
        known = ", ".join(map(repr, tokenizer.special_tokens)) or "none"
        raise ValueError(
            f"separator={separator!r}: it is no special token of this tokenizer; it has {known}"
        ) from None


def check_fraction(fraction: float) -> float:
    """`fraction` as a float; ValueError unless it is from 0 to 1, TypeError if it is no number."""
    try:
        value = float(fraction)
    except (TypeError, ValueError):
        raise TypeError(f"validation_fraction={fraction!r}: it must be a number") from None
    if isinstance(fraction, str):
        raise TypeError(f"validation_fraction={fraction!r}: it must be a number")
    if math.isnan(value) or not 0 <= value <= 1:
        raise ValueError(f"validation_fraction={fraction!r}: it must lie between 0 and 1")
    return value


class _Run:
    """What is on disk of a run, before and between checkpoints."""

    def __init__(self, folder: Path, plan: Manifest, files: list[InputFile]) -> None:
        self._folder, self._plan = folder, plan
        self._state_path = folder / STATE_NAME
        # A file that was changed but kept its length is found by its time; other runs' manifests
        # must not differ for that.
        self._times = [file.path.stat().st_mtime_ns for file in files]

    def finished(self) -> Manifest | None:
        """The manifest, if this very run has ended before.

        Raises:
            ValueError: Another has.
        """
        if not (self._folder / MANIFEST_NAME).exists():
            return None
        manifest = Manifest.load(self._folder)
        self._check_same(_asked(manifest), self._folder / MANIFEST_NAME)
        check_files(self._folder, manifest)
        self._clean()
        return manifest

    def checkpoint(self) -> tuple[str | None, int]:
        """The last checkpoint, if this run was begun before, and how many files are done.

        Raises:
            ValueError: Another run was, or the folder holds other files of these names.
        """
        if not self._state_path.exists():
            taken = [p for s in SPLITS for p in sorted(self._folder.glob(f"{s}-*.npy"))]
            if taken:
                raise ValueError(
                    f"{taken[0]}: this file is in the way, and there is no {MANIFEST_NAME} that "
                    "says what it is; name another output folder or remove it"
                )
            self._clean()
            return None, 0
        state = byte_level.read_json_object(self._state_path)
        if state.get("format") != _STATE_FORMAT or state.get("version") != _STATE_VERSION:
            raise ValueError(
                f"{self._state_path}: it is no state of an encoding run that this bytemill knows; "
                "name another output folder or remove this one"
            )
        self._check_same(state.get("asked"), self._state_path)
        if state.get("times") != self._times:
            raise self._other(self._state_path, "an input file was changed since")
        self._clean(keep_parts=True)
        checkpoint = state.get("checkpoint")
        source = checkpoint.get("source") if isinstance(checkpoint, dict) else None
        if not isinstance(source, int) or not 0 <= source <= len(self._times):
            raise self._other(self._state_path, "it is damaged")
        return json.dumps(checkpoint), max(source - 1, 0)

    def store(self, checkpoint: str) -> None:
        """Makes a checkpoint last."""
        state = {
            "format": _STATE_FORMAT,
            "version": _STATE_VERSION,
            "asked": _asked(self._plan),
            "times": self._times,
            "checkpoint": json.loads(checkpoint),
        }
        atomic.write_bytes(self._state_path, json.dumps(state).encode())

    def finish(self, checkpoint: str) -> Manifest:
        """Writes the manifest and removes the state."""
        splits = json.loads(checkpoint)["splits"]
        manifest = Manifest(
            **{
                **_fields(self._plan),
                "splits": {
                    name: [
                        Shard(f"{name}-{i:05}.npy", f"{name}-{i:05}.docs.npy", **shard)
                        for i, shard in enumerate(split["shards"])
                    ]
                    for name, split in zip(SPLITS, splits, strict=True)
                },
            }
        )
        atomic.write_bytes(self._folder / MANIFEST_NAME, manifest.to_json())
        self._clean()
        return manifest

    def _check_same(self, other: Any, where: Path) -> None:
        mine = _asked(self._plan)
        if other == mine:
            return
        if not isinstance(other, dict):
            raise self._other(where, "it is damaged")
        if other.get("fingerprint") != mine["fingerprint"]:
            raise self._other(where, "it was made with another tokenizer")
        if other.get("inputs") != mine["inputs"]:
            raise self._other(where, "it was made from other input files, or they were changed")
        theirs = other.get("settings")
        theirs = {**theirs, "dtype": other.get("dtype")} if isinstance(theirs, dict) else {}
        ours = {**mine["settings"], "dtype": mine["dtype"]}
        different = [
            f"{key}={theirs.get(key)!r} instead of {value!r}"
            for key, value in ours.items()
            if theirs.get(key) != value
        ]
        raise self._other(where, f"it was made with {', '.join(different) or 'other settings'}")

    def _other(self, where: Path, reason: str) -> ValueError:
        return ValueError(
            f"{where}: this folder holds another run's output: {reason}; name another output "
            "folder, or remove this one to begin again"
        )

    def _clean(self, *, keep_parts: bool = False) -> None:
        """Removes what a killed run may have left."""
        names = [f".{STATE_NAME}.*.tmp", f".{MANIFEST_NAME}.*.tmp"]
        if not keep_parts:
            names += [STATE_NAME, *(f".{split}-*.npy.part" for split in SPLITS)]
        for name in names:
            for path in self._folder.glob(name):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing to the folder.

        Raises:
            ValueError: One does.
        """
        path = self._folder / LOCK_NAME
        with path.open("ab") as file:
            try:
                _lock(file.fileno())
            except OSError:
                raise ValueError(
                    f"{self._folder}: another process is encoding to this folder; wait for it, or "
                    "name another"
                ) from None
            try:
                yield
            except BaseException:
                # Without a checkpoint there is nothing to go on from.
                if not self._state_path.exists():
                    self._clean()
                raise
            finally:
                with contextlib.suppress(OSError):  # Windows removes no open file
                    path.unlink()


def _lock(fd: int) -> None:
    """Locks an open file until it is closed, or the process ends however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__dataclass_fields__}


def _asked(manifest: Manifest) -> dict[str, Any]:
    """All that decides what is written."""
    fields = _fields(manifest)
    del fields["splits"]
    return fields


def _text(path: Path) -> str:
    # A name that is not UTF-8 has surrogates in it, which JSON files should not.
    return str(path).encode("utf-8", "replace").decode()


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Makes the folder; if the block raises and the folder is new and empty, removes it again."""
    new = [path for path in [folder, *folder.parents] if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()
        raise


@contextlib.contextmanager
def _disk_full_named(folder: Path) -> Iterator[None]:
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in full:
            raise
        message = f"{os.strerror(error.errno)}; make room and call again to go on"
        raise DiskFullError(error.errno, message, error.filename or str(folder)) from error
