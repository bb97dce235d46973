"""Input files -> ids: into memory, or as shards on disk in a run that can be taken up again."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final, Literal

from bytemill import _core
from bytemill._arguments import check_limit
from bytemill.data.documents import Feeder, Progress, check_errors
from bytemill.data.identity import Identity
from bytemill.data.inputs import Paths, expand_inputs
from bytemill.data.shard_run import ShardRun
from bytemill.data.shards import WIDTHS, Dtype, Manifest
from bytemill.files import named, naming_full_disk, new_folder
from bytemill.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SHARD_TOKENS: Final = 100_000_000

SeparatorAt = Literal["start", "end"]


def encode_files(
    vocabulary: Vocabulary,
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
    made again. A run that has ended is not repeated: its manifest is returned. Whether files are
    the same is decided by their content, which is read once for that; what a pipe gives is never
    the same. Memory does not grow
    with the corpus (a pattern unlike GPT-2's and its successors' needs each document as a whole).

    Args:
        vocabulary: What encodes: `Tokenizer.vocabulary`.
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
            an argument is out of range; `dtype` is too small; `separator` is not a special token;
            the folder holds the output of another call (other or changed files, a pipe, settings
            or tokenizer), or another process is writing to it; a file was changed while it was
            read. The message says what to do.
        DiskFullError: The disk is full; what has been finished is kept.
        ImportError: A .parquet or .zst file needs a package that is not installed.
    """
    folder = named("out_dir", out_dir)
    settings = check_settings(
        vocabulary, separator, separator_at, shard_tokens, validation_fraction, text_column, errors
    )
    dtype = choose_dtype(vocabulary, dtype)
    check_limit("num_threads", num_threads)
    files = expand_inputs(paths)
    feeder = Feeder(files, text_column, errors, progress)
    identity = Identity(files, num_threads)
    plan = Manifest(
        fingerprint=vocabulary.fingerprint,
        n_vocab=vocabulary.n_vocab,
        dtype=dtype,
        settings=settings,
        inputs=identity.inputs,
        splits={},
    )
    with naming_full_disk(folder, "call again"), new_folder(folder):
        run = ShardRun(folder, plan)
        with run.locked():
            # Once more: it may have been ended by another process.
            if (finished := run.finished()) is not None:
                return finished
            checkpoint, n_done = run.checkpoint()
            last = _core.encode_shards(
                vocabulary.encoder,
                feeder.sources(n_done),
                str(folder),
                dtype,
                shard_tokens,
                run.store,
                validation_fraction=float(validation_fraction),
                checkpoint=checkpoint,
                separator=settings["separator_id"],
                separator_first=separator_at == "start",
                num_threads=num_threads,
                errors=errors,
                progress=feeder.on_source_bytes,
            )
            feeder.report()
            identity.check_unchanged()
            return run.finish(last)


def encode_files_to_numpy(
    vocabulary: Vocabulary,
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
    dtype = choose_dtype(vocabulary, dtype)
    inputs = expand_inputs(paths)
    feeder = Feeder(inputs, text_column, errors, progress)
    ids, ends, _ = _core.encode_corpus(
        vocabulary.encoder,
        feeder.sources(),
        dtype,
        separator=check_separator(vocabulary, separator, separator_at),
        separator_first=separator_at == "start",
        num_threads=check_limit("num_threads", num_threads),
        errors=errors,
        progress=feeder.on_source_bytes,
        expected_bytes=sum(file.path.stat().st_size for file in inputs),
    )
    feeder.report()
    offsets = np.zeros(len(ends) // 8 + 1, np.uint64)
    offsets[1:] = np.frombuffer(ends, np.uint64)
    return np.frombuffer(ids, np.dtype(dtype).newbyteorder("<")), offsets


def check_settings(
    vocabulary: Vocabulary,
    separator: str | None,
    separator_at: str,
    shard_tokens: int,
    validation_fraction: float,
    text_column: str,
    errors: str,
) -> dict[str, Any]:
    """The arguments of `encode_files` that decide what is written, as the manifest has them.

    Raises:
        TypeError, ValueError: One is out of range; `separator` is not a special token.
    """
    check_errors(errors)
    return {
        "separator": separator,
        "separator_id": check_separator(vocabulary, separator, separator_at),
        "separator_at": separator_at if separator is not None else None,
        "shard_tokens": check_limit("shard_tokens", shard_tokens),
        "validation_fraction": check_fraction(validation_fraction),
        "text_column": text_column,
        "errors": errors,
    }


def choose_dtype(vocabulary: Vocabulary, dtype: Dtype | None) -> Dtype:
    """The type to write ids as: `dtype`, or the smallest that is large enough.

    Raises:
        ValueError: `dtype` is not a type for ids, or too small for the vocabulary.
    """
    if dtype is None:
        return "uint16" if vocabulary.n_vocab <= 1 << 16 else "uint32"
    if dtype not in WIDTHS:
        raise ValueError(f'dtype={dtype!r}: it must be "uint16" or "uint32"')
    if dtype == "uint16" and vocabulary.n_vocab > 1 << 16:
        raise ValueError(
            f'dtype="uint16": the vocabulary has ids up to {vocabulary.n_vocab - 1}, and 65535 is '
            'the most that 16 bits hold; pass "uint32"'
        )
    return dtype


def check_separator(vocabulary: Vocabulary, separator: str | None, at: str) -> int | None:
    """The separator's id.

    Raises:
        ValueError: It is not a special token of the tokenizer, or `at` is not a place.
    """
    if at not in ("start", "end"):
        raise ValueError(f'separator_at={at!r}: it must be "start" or "end"')
    if separator is None:
        return None
    try:
        return vocabulary.special_tokens[separator]
    except (KeyError, TypeError):
        known = ", ".join(map(repr, vocabulary.special_tokens)) or "none"
        raise ValueError(
            f"separator={separator!r}: it is not a special token of this tokenizer; it has {known}"
        ) from None


def check_fraction(fraction: float) -> float:
    """`fraction` as a float; ValueError unless it is from 0 to 1, TypeError if not a number."""
    try:
        value = float(fraction)
    except (TypeError, ValueError):
        raise TypeError(f"validation_fraction={fraction!r}: it must be a number") from None
    if isinstance(fraction, str):
        raise TypeError(f"validation_fraction={fraction!r}: it must be a number")
    if math.isnan(value) or not 0 <= value <= 1:
        raise ValueError(f"validation_fraction={fraction!r}: it must lie between 0 and 1")
    return value
