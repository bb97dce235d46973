"""Token shards on disk: the manifest, and reading through memory maps.

A folder that `Tokenizer.encode_files` has finished holds, for each split ("train", "val") and n
from 0:

- `train-0000n.npy`: ids, uint16 or uint32, one document after another;
- `train-0000n.docs.npy`: uint64, where each document begins in it, and finally its length;
- `manifest.json`: what they are, and made of what; see `Manifest`.

Each is a NumPy file of one dimension, little endian, that `numpy.load` reads. A document is never
divided between shards. Its separator belongs to it.
"""

from __future__ import annotations

import bisect
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, overload

from bytemill.files import raising_memory_error, read_versioned

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

MANIFEST_NAME: Final = "manifest.json"
FORMAT: Final = "bytemill-shards"
VERSION: Final = 1
SPLITS: Final = ("train", "val")
_HEADER = 128
_PIECE = 1 << 22

Dtype: TypeAlias = Literal["uint16", "uint32"]
Split: TypeAlias = Literal["train", "val"]
WIDTHS: Final[dict[str, int]] = {"uint16": 2, "uint32": 4}


class HasFingerprint(Protocol):
    """A `Tokenizer`, or its `Vocabulary`."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids."""


@dataclass(frozen=True)
class Shard:
    """One shard's files and what is in them."""

    file: str
    """The file of ids."""
    documents_file: str
    """The file that says where documents begin."""
    tokens: int
    documents: int
    bytes: int
    """Of the documents' text, as UTF-8."""
    crc32: int
    """CRC-32 of the whole file of ids."""
    documents_crc32: int
    """CRC-32 of the whole file of documents."""


@dataclass(frozen=True)
class Manifest:
    """What is in a folder of shards, and what it was made of."""

    fingerprint: str
    """`Tokenizer.fingerprint` of the tokenizer."""
    n_vocab: int
    dtype: str
    """Of the ids: "uint16" or "uint32"."""
    settings: dict[str, Any]
    """The arguments of `Tokenizer.encode_files` that decide what is written."""
    inputs: list[dict[str, Any]]
    """The files read: their "path", "size" in bytes, and "crc32" of them as they are on disk; of
    what is not a file, such as a pipe, null."""
    splits: dict[str, list[Shard]]
    """The shards of each split, in order."""

    @property
    def n_tokens(self) -> int:
        """Ids in all splits."""
        return sum(shard.tokens for shards in self.splits.values() for shard in shards)

    @property
    def n_documents(self) -> int:
        """Documents in all splits."""
        return sum(shard.documents for shards in self.splits.values() for shard in shards)

    @property
    def n_bytes(self) -> int:
        """Bytes of text, as UTF-8, in all splits."""
        return sum(shard.bytes for shards in self.splits.values() for shard in shards)

    def _counts(self) -> dict[str, int]:
        return {"tokens": self.n_tokens, "documents": self.n_documents, "bytes": self.n_bytes}

    def to_json(self) -> bytes:
        """The manifest's file."""
        fields = asdict(self)
        whole = {"format": FORMAT, "version": VERSION, "counts": self._counts(), **fields}
        return (json.dumps(whole, indent=1) + "\n").encode()

    @classmethod
    def load(cls, dir: str | os.PathLike[str]) -> Manifest:
        """Reads the manifest of a folder.

        Raises:
            FileNotFoundError: The folder holds no manifest: it is not a folder of shards, or its
                run has not ended.
            ValueError: The manifest is damaged or from a later version.
        """
        path = Path(dir) / MANIFEST_NAME
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; a folder of shards is what Tokenizer.encode_files has "
                "written to the end (to finish an interrupted run, make the same call again)"
            )
        remedy = "encode the files again with this one"
        fields = read_versioned(path, FORMAT, VERSION, remedy)
        counts = fields.pop("counts", None)
        try:
            splits = {
                name: [Shard(**_checked(shard, Shard)) for shard in fields["splits"][name]]
                for name in SPLITS
            }
            manifest = cls(**_checked({**fields, "splits": splits}, cls))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, str(error)) from None
        if counts != manifest._counts():
            raise _damaged(path, '"counts" are not the sums over the shards')
        if manifest.dtype not in WIDTHS:
            raise _damaged(path, f'"dtype" is {manifest.dtype!r}')
        return manifest


_KINDS: Final[dict[str, type]] = {
    "fingerprint": str, "n_vocab": int, "dtype": str, "settings": dict, "inputs": list,
    "splits": dict, "file": str, "documents_file": str, "tokens": int, "documents": int,
    "bytes": int, "crc32": int, "documents_crc32": int,
}  # fmt: skip


def _checked(fields: dict[str, Any], cls: type) -> dict[str, Any]:
    """`fields`, if they are those of `cls`."""
    expected = set(cls.__dataclass_fields__)  # type: ignore[attr-defined]
    if set(fields) != expected:
        names = ", ".join(sorted(set(fields) ^ expected))
        raise ValueError(f"missing or unknown: {names}")
    for key, value in fields.items():
        good = isinstance(value, _KINDS[key]) and not isinstance(value, bool)
        if isinstance(value, int):
            good = good and value >= 0
        elif isinstance(value, str) and key.endswith("file"):
            good = Path(value).name == value  # it must not lead out of the folder
        if not good:
            raise ValueError(f'"{key}" is {value!r}')
    return fields


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path}: {reason}; the shards were changed or damaged: encode the files again or restore "
        "them from a copy"
    )


class Shards:
    """The ids of one split, memory-mapped; made by `open_shards`.

    Reads like one long array: `shards[a:b]` are the ids from a up to b, wherever shards end, and
    `shards[i]` is one of them. Slices within a shard are views of the map and cost no copy; others
    are copied together.
    """

    def __init__(self, dir: Path, manifest: Manifest, split: str) -> None:
        self.folder: Final = dir
        self._manifest, self._split = manifest, split
        self._arrays: list[Ids] = []
        self._starts: list[npt.NDArray[np.uint64]] = []
        self._tokens_before = [0]
        self._documents_before = [0]
        for shard in manifest.splits[split]:
            self._arrays.append(_map(dir / shard.file, manifest.dtype, shard.tokens))
            self._starts.append(_map(dir / shard.documents_file, "uint64", shard.documents + 1))
            self._tokens_before.append(self._tokens_before[-1] + shard.tokens)
            self._documents_before.append(self._documents_before[-1] + shard.documents)

    @property
    def manifest(self) -> Manifest:
        """The whole folder's manifest."""
        return self._manifest

    @property
    def split(self) -> str:
        """ "train" or "val"."""
        return self._split

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the ids."""
        import numpy as np

        return np.dtype(self._manifest.dtype)

    @property
    def n_tokens(self) -> int:
        """Ids in this split."""
        return self._tokens_before[-1]

    @property
    def n_documents(self) -> int:
        """Documents in this split."""
        return self._documents_before[-1]

    @property
    def arrays(self) -> Sequence[Ids]:
        """The shards' ids, read-only; shape (tokens,) each."""
        return self._arrays

    @property
    def document_starts(self) -> Sequence[npt.NDArray[np.uint64]]:
        """For each shard where its documents begin, and finally its length; (documents + 1,)."""
        return self._starts

    def document(self, index: int) -> Ids:
        """The ids of a document, its separator included; negative indices count from the end.

        Raises:
            IndexError: There is no such document.
        """
        n = self.n_documents
        at = index + n if index < 0 else index
        if not 0 <= at < n:
            raise IndexError(f"document {index} of {n}")
        which = bisect.bisect_right(self._documents_before, at) - 1
        starts = self._starts[which]
        at -= self._documents_before[which]
        return self._arrays[which][int(starts[at]) : int(starts[at + 1])]

    def __len__(self) -> int:
        return self.n_tokens

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Ids: ...
    def __getitem__(self, index: int | slice) -> int | Ids:
        n = self.n_tokens
        if not isinstance(index, slice):
            at = index + n if index < 0 else index
            if not 0 <= at < n:
                raise IndexError(f"token {index} of {n}")
            which = bisect.bisect_right(self._tokens_before, at) - 1
            return int(self._arrays[which][at - self._tokens_before[which]])
        start, stop, step = index.indices(n)
        if step != 1:
            raise ValueError(f"step {step}: slices of shards go by steps of 1; slice the result")
        return self._range(start, max(start, stop))

    def _range(self, start: int, stop: int) -> Ids:
        import numpy as np

        which = bisect.bisect_right(self._tokens_before, start) - 1
        pieces: list[Ids] = []
        while start < stop:
            before, after = self._tokens_before[which : which + 2]
            end = min(stop, after)
            pieces.append(self._arrays[which][start - before : end - before])
            start, which = end, which + 1
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)

    def __repr__(self) -> str:
        return (
            f"Shards(split={self._split!r}, n_tokens={self.n_tokens}, "
            f"n_documents={self.n_documents}, shards={len(self._arrays)})"
        )


@raising_memory_error()
def open_shards(
    dir: str | os.PathLike[str],
    *,
    tokenizer: HasFingerprint | str | None = None,
    split: Split = "train",
    verify: bool = False,
) -> Shards:
    """Opens one split of a folder that `Tokenizer.encode_files` wrote. Needs NumPy.

    Args:
        dir: The folder.
        tokenizer: The tokenizer that the ids must come from, or its fingerprint; None for any.
        split: "train" or "val".
        verify: Read all files of the split and compare their checksums. Their sizes and headers
            are always checked.

    Raises:
        FileNotFoundError: There is no manifest: this is not a folder of shards, or its run was
            interrupted.
        ValueError: The ids come from another tokenizer; a file is missing, truncated or damaged; no
            such split.
    """
    folder = Path(dir)
    manifest = Manifest.load(folder)
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: it must be "train" or "val"')
    if tokenizer is not None:
        wanted = tokenizer if isinstance(tokenizer, str) else tokenizer.fingerprint
        if wanted != manifest.fingerprint:
            raise ValueError(
                f"{folder}: its ids come from another tokenizer (fingerprint "
                f"{manifest.fingerprint}, not {wanted}); open it with the tokenizer it was made "
                "with, or encode the files again"
            )
    check_files(folder, manifest, (split,), verify=verify)
    return Shards(folder, manifest, split)


def check_files(
    folder: Path, manifest: Manifest, splits: Sequence[str] = SPLITS, *, verify: bool = False
) -> None:
    """Raises ValueError if a file is missing, of another size, or (`verify`) damaged."""
    for shard in (shard for split in splits for shard in manifest.splits[split]):
        for name, size, crc32 in (
            (shard.file, shard.tokens * WIDTHS[manifest.dtype], shard.crc32),
            (shard.documents_file, (shard.documents + 1) * 8, shard.documents_crc32),
        ):
            path = folder / name
            try:
                found = path.stat().st_size
            except FileNotFoundError:
                raise _damaged(
                    path, f"the file is missing, though {MANIFEST_NAME} names it"
                ) from None
            if found != _HEADER + size:
                raise _damaged(path, f"it has {found} bytes instead of {_HEADER + size}")
            if verify and _crc32(path) != crc32:
                raise _damaged(path, f"its CRC-32 is not the one in {MANIFEST_NAME}")


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc32 = zlib.crc32(piece, crc32)
    return crc32


def _map(path: Path, dtype: str, n: int) -> Any:
    import numpy as np

    try:
        with raising_memory_error():
            array = np.lib.format.open_memmap(path, mode="r")
    except MemoryError:
        raise
    except Exception as error:  # NumPy reads the header as Python: TokenError, TypeError, ...
        raise _damaged(path, f"it is not a NumPy file ({error})") from None
    if array.shape != (n,) or array.dtype != np.dtype(dtype).newbyteorder("<"):
        raise _damaged(
            path, f"it holds {array.dtype} of shape {array.shape}, not {dtype} of ({n},)"
        )
    return array
