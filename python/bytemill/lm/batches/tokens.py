"""Token ids on disk as one long array, whatever file they are in."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bytemill.data import Shards, open_shards
from bytemill.files import raising_memory_error

if TYPE_CHECKING:
    from bytemill import Tokenizer
    from bytemill.data.shards import Split

Ids = npt.NDArray[np.integer[Any]]

_PIECE = 1 << 24
_SAMPLES, _SAMPLE = 16, 2048
_BIN_HEADER = 1024
# The magic numbers of llm.c's files, for GPT-2's and Llama 3's ids.
_BIN = {20240520: (1, "<u2"), 20240801: (7, "<u4")}


@dataclass(frozen=True)
class Scan:
    """What reading all of a bare array tells."""

    least: int
    greatest: int
    """-1 if there are no ids; `least` is 0 then."""
    sha256: str
    """Of the ids' bytes."""


@dataclass(frozen=True)
class Tokens:
    """Ids of one split, memory-mapped; made by `open_tokens`, or of an array with `Tokens.of`."""

    source: str
    """Where they come from, for messages."""
    ids: Shards | Ids
    fingerprint: str | None
    """Of the tokenizer; None for a bare array, which does not know."""

    @classmethod
    def of(cls, ids: Ids, source: str = "array") -> Tokens:
        """Of an array in memory.

        Raises:
            TypeError: It holds no integers.
            ValueError: It has not one dimension.
        """
        if ids.dtype.kind not in "ui":
            raise TypeError(f"{source}: it holds {ids.dtype}; token ids are integers")
        if ids.ndim != 1:
            raise ValueError(f"{source}: its shape is {ids.shape}; token ids have one dimension")
        return cls(source, ids, None)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the ids."""
        return self.ids.dtype

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: slice) -> Ids:
        return self.ids[index]

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """Ids from `start` on, as int64; shape (length,)."""
        return np.asarray(self.ids[start : start + length], dtype=np.int64)

    def document_starts(self, bos_id: int) -> npt.NDArray[np.int64]:
        """Where documents begin, and finally the number of ids; shape (documents + 1,).

        Shards know; in a bare array a document begins with each `bos_id`.

        Raises:
            ValueError: A document does not begin with `bos_id`.
        """
        if isinstance(self.ids, Shards):
            found = [np.zeros(0, np.int64)]
            before = 0
            for ids, starts in zip(self.ids.arrays, self.ids.document_starts, strict=True):
                begins = np.asarray(starts[:-1], dtype=np.int64)
                wrong = np.flatnonzero(np.asarray(ids[begins]) != bos_id)
                if len(wrong):
                    raise self._no_bos(bos_id, before + int(begins[wrong[0]]))
                found.append(begins + before)
                before += len(ids)
        else:
            found = [
                np.flatnonzero(np.asarray(self.ids[at : at + _PIECE]) == bos_id) + at
                for at in range(0, len(self.ids), _PIECE)
            ]
            if len(self.ids) and (not len(found[0]) or found[0][0] != 0):
                raise self._no_bos(bos_id, 0)
        return np.concatenate([*found, np.array([len(self.ids)])]).astype(np.int64)

    def _no_bos(self, bos_id: int, at: int) -> ValueError:
        there = int(self.ids[at : at + 1][0])
        return ValueError(
            f"{self.source}: the document at token {at} begins with id {there}, not with "
            f"bos_id={bos_id}; encode the files with this token as separator, "
            'separator_at="start", or train on random windows'
        )

    @cached_property
    def scan(self) -> Scan:
        """Of a bare array: read once, at the first call."""
        digest = hashlib.sha256()
        least, greatest = 0, -1
        for at in range(0, len(self), _PIECE):
            piece = np.ascontiguousarray(self[at : at + _PIECE])
            digest.update(piece.view(np.uint8).data)
            low, high = int(piece.min()), int(piece.max())
            least = min(least, low) if at else low
            greatest = max(greatest, high)
        return Scan(least, greatest, digest.hexdigest())

    @cached_property
    def content(self) -> str:
        """Tells these ids from others, and from the same in another order: a SHA-256.

        Of a bare array's type and all of its ids; of shards' checksums in their manifest, in order,
        and of ids at 16 places of each, so that a file that was changed without its manifest is
        found if it was changed there, or replaced.
        """
        if not isinstance(self.ids, Shards):
            whole = f"{self.dtype.str} {len(self)} {self.scan.sha256}"
            return hashlib.sha256(whole.encode()).hexdigest()
        manifest = self.ids.manifest
        digest = hashlib.sha256(f"{manifest.fingerprint} {manifest.dtype}".encode())
        for shard, ids in zip(manifest.splits[self.ids.split], self.ids.arrays, strict=True):
            sums = (shard.tokens, shard.documents, shard.crc32, shard.documents_crc32)
            digest.update(repr(sums).encode())
            for at in np.linspace(0, max(len(ids) - _SAMPLE, 0), _SAMPLES, dtype=np.int64):
                digest.update(np.ascontiguousarray(ids[at : at + _SAMPLE]).view(np.uint8).data)
        return digest.hexdigest()

    def first_outside(self, low: int | None, end: int | None) -> int | None:
        """Where the first id is that is below `low`, or not below `end`; None if there is none."""
        for at in range(0, len(self), _PIECE):
            piece = np.asarray(self[at : at + _PIECE])
            wrong = np.zeros(len(piece), bool)
            if low is not None:
                wrong |= piece < low
            if end is not None:
                wrong |= piece >= end
            if wrong.any():
                return at + int(wrong.argmax())
        return None

    def least_id(self) -> int:
        """The least id, or 0 if there is none; one below 0 is bad. Reads all of a bare array."""
        return 0 if self.dtype.kind == "u" else self.scan.least

    def largest_id(self) -> int:
        """The greatest id, or -1 if there is none. Reads all of a bare array."""
        if isinstance(self.ids, Shards):
            return self.ids.manifest.n_vocab - 1
        return self.scan.greatest


def open_tokens(
    path: str | os.PathLike[str],
    *,
    split: Split = "train",
    tokenizer: Tokenizer | str | None = None,
) -> Tokens:
    """Opens a folder of shards, or one file of ids; memory-mapped, so size does not matter.

    Args:
        path: What `Tokenizer.encode_files` wrote; or a NumPy file of integers of one dimension; or
            a .bin file of llm.c's, or of nanoGPT's (uint16 and nothing else).
        split: "train" or "val", of a folder. A file is one split, whatever it is called.
        tokenizer: The model's tokenizer, or its fingerprint: shards of another are refused. A bare
            file does not know its tokenizer; see `vocabulary.check_vocabulary`.

    Raises:
        FileNotFoundError: There is nothing there, or the folder holds no finished shards.
        TypeError: The file holds no integers.
        ValueError: Another tokenizer's shards, damaged files, or more than one dimension.
    """
    where = Path(path)
    if where.is_dir():
        shards = open_shards(where, tokenizer=tokenizer, split=split)
        return Tokens(f"{where} ({split})", shards, shards.manifest.fingerprint)
    if not where.exists():
        raise FileNotFoundError(
            f"{where}: no such folder or file; make shards with bytemill tok-encode"
        )
    if where.suffix == ".bin":
        return Tokens.of(_open_bin(where), str(where))
    try:
        with raising_memory_error():
            ids = np.load(where, mmap_mode="r", allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # NumPy reads the header as Python: TokenError, TypeError, ...
        raise ValueError(f"{where}: it is not a NumPy file of token ids ({error})") from None
    if not isinstance(ids, np.ndarray):
        raise ValueError(f"{where}: it holds several arrays; save one, with numpy.save")
    return Tokens.of(ids, str(where))


@raising_memory_error()
def _open_bin(path: Path) -> Ids:
    """The ids in a .bin file.

    llm.c's begin with 256 int32: magic, version, number of ids
    (https://github.com/karpathy/llm.c/blob/master/dev/data/data_common.py). nanoGPT's have no
    header.

    Raises:
        ValueError: It is truncated, or of a version that is not known.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = np.frombuffer(file.read(_BIN_HEADER).ljust(12, b"\0")[:12], "<i4")
    magic, version, count = header.tolist()
    if magic not in _BIN:
        if size % 2 or not size:
            raise ValueError(
                f"{path}: {size} bytes are not uint16 ids, and there is not a header of llm.c's"
            )
        return np.memmap(path, "<u2", "r")
    known, dtype = _BIN[magic]
    if version != known:
        raise ValueError(f"{path}: version {version} of llm.c's files; this one reads {known}")
    wanted = _BIN_HEADER + count * np.dtype(dtype).itemsize
    if size != wanted or count < 1:
        raise ValueError(
            f"{path}: its header tells of {count} ids, {wanted} bytes, but it has {size}: it was "
            "truncated or changed"
        )
    return np.memmap(path, dtype, "r", _BIN_HEADER)


def check_length(tokens: Tokens, context_length: int) -> None:
    """Raises ValueError if there is not one window: `context_length` ids and the one after."""
    if len(tokens) <= context_length:
        raise ValueError(
            f"{tokens.source}: it has {len(tokens)} tokens, but a window of context_length="
            f"{context_length} needs {context_length + 1}; use more text or a shorter context"
        )
