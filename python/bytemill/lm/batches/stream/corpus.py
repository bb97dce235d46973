"""What a run's `data` names: token ids, or text to be encoded on the way, or a mixture of them."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from bytemill.data.documents import iter_documents
from bytemill.data.download import manifest
from bytemill.data.inputs import COMPRESSIONS, FORMATS, RECORD, expand_inputs
from bytemill.data.shard_run import STATE_NAME
from bytemill.data.shards import MANIFEST_NAME
from bytemill.lm.batches.stream.documents import FileDocuments
from bytemill.lm.batches.tokens import Ids, Tokens

if TYPE_CHECKING:
    from bytemill.tokenizer.tokenizer import Tokenizer

_SAMPLE: Final = 1 << 20
_VALIDATION: Final = 1 << 23
"""Tokens, of the beginning of the file: more than a validation asks for."""
_BATCH: Final = 256
_WEIGHED: Final = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*=\s*(\S.*?)\s*", re.DOTALL)


def weighed(data: str) -> list[tuple[float, str]]:
    """The paths in "0.7=web/*.parquet; 0.3=books", with their weights; another path has weight 1.

    Raises:
        ValueError: Some of it has a weight and some has not, or a weight is 0.
    """
    if os.path.lexists(data) or not _WEIGHED.fullmatch(data.split(";")[0]):
        return [(1.0, data)]
    parts = []
    for text in data.split(";"):
        found = _WEIGHED.fullmatch(text)
        if found is None or float(found[1]) == 0:
            raise ValueError(
                f"data={data!r}: a mixture is WEIGHT=PATH; WEIGHT=PATH ..., with weights above 0, "
                f"and {text.strip()!r} is not like that"
            )
        parts.append((float(found[1]), found[2]))
    return parts


def placed(data: str) -> str:
    """The same with whole paths, which stay right in another working folder."""
    parts = weighed(data)
    if len(parts) == 1 and parts[0][1] == data:
        return str(Path(data).absolute())
    return "; ".join(f"{weight:g}={Path(path).absolute()}" for weight, path in parts)


def is_text(path: str) -> bool:
    """Whether a path stands for text, and not for token ids."""
    where = Path(path)
    if where.is_dir():
        if (where / MANIFEST_NAME).exists() or (where / STATE_NAME).exists():
            return False
        found = (Path(folder, name) for folder, _, names in os.walk(where) for name in names)
        return any(_has_text(each) for each in found)
    if not where.exists():
        return glob.has_magic(path)
    return _has_text(where)


def _has_text(path: Path) -> bool:
    name = path.name.lower()
    ending = Path(name).suffix
    inner = Path(name).stem if ending in COMPRESSIONS else name
    return path.name != RECORD and Path(inner).suffix in FORMATS


@dataclass(frozen=True)
class TextTokens(Tokens):
    """The first ids of text that is encoded while training; its length is that of all of it."""

    about: int = 0
    """How many tokens there are in all, estimated by what the first ones take of the files."""
    n_vocab: int = 0
    """Of the tokenizer."""
    origin: str = ""
    """Tells what it is the beginning of from other text."""

    def __len__(self) -> int:
        return self.about

    def largest_id(self) -> int:
        """The greatest that there could be."""
        return self.n_vocab - 1

    @property
    def content(self) -> str:
        """Tells this text from other text: a SHA-256 of where it is from and of its first ids."""
        whole = hashlib.sha256(f"{self.origin} {self.fingerprint} {self.dtype.str} ".encode())
        whole.update(np.ascontiguousarray(self.ids[:]).view(np.uint8).data)
        return whole.hexdigest()


def open_text(
    path: str,
    tokenizer: Tokenizer,
    bos_id: int,
    *,
    text_column: str,
    leave_out: Iterable[Path],
) -> tuple[FileDocuments, TextTokens]:
    """The documents that a path stands for, and their first ids.

    Args:
        path: A file, a folder or a glob.
        tokenizer: Encodes them; its special tokens separate the documents of plain text files.
        bos_id: Begins each document.
        text_column: The key or column that holds the text.
        leave_out: Files that are for validation.

    Raises:
        FileNotFoundError, ImportError, PermissionError, ValueError: It cannot be read.
    """
    documents = FileDocuments(
        path,
        text_column=text_column,
        separators=list(tokenizer.special_tokens),
        leave_out=leave_out,
    )
    files = [file.path for file in documents.files]
    ids, share = encode_text(files, tokenizer, bos_id, text_column, _SAMPLE)
    if not len(ids):
        raise ValueError(f"{documents.source}: there is no text in it")
    about = round(len(ids) / share)
    tokens = TextTokens(
        path,
        ids,
        tokenizer.fingerprint,
        about=about,
        n_vocab=tokenizer.n_vocab,
        origin=documents.fingerprint(),
    )
    return documents, tokens


def validation_files(path: str) -> list[Path]:
    """The file that the record of a download pins for validation, if it is there."""
    return manifest.validation_files(file.path for file in expand_inputs(path))


def text_tokens(
    paths: list[Path], tokenizer: Tokenizer, bos_id: int, *, text_column: str
) -> Tokens:
    """The ids of text for validation, the first eight million at most."""
    ids, _ = encode_text(paths, tokenizer, bos_id, text_column, _VALIDATION)
    tokens = Tokens.of(ids, ", ".join(map(str, paths)))
    return replace(tokens, fingerprint=tokenizer.fingerprint)


def encode_text(
    paths: list[Path], tokenizer: Tokenizer, bos_id: int, text_column: str, most: int
) -> tuple[Ids, float]:
    """The first ids of some files, about `most` of them, and the share of the files they are of."""
    characters, done_at, share = 0, 0, 0.0

    def on_progress(done: int, total: int) -> None:
        # Some readers tell of their progress only now and then.
        nonlocal done_at, share
        if done / max(total, 1) != share:
            done_at, share = characters, done / max(total, 1)

    documents = iter_documents(
        paths, text_column, special_tokens=list(tokenizer.special_tokens), progress=on_progress
    )
    found: list[Ids] = []
    n = 0
    while n < most or not share:
        batch = []
        for text in islice(documents, _BATCH):
            characters += len(text)
            batch.append(text)
        if not batch:
            return _joined(found), 1.0
        ids, offsets = tokenizer.encode_batch_to_numpy(batch, allowed_special=set())
        found.append(np.insert(ids, offsets[:-1].astype(np.int64), bos_id))
        n += len(found[-1])
    return _joined(found), min(share * characters / done_at, 1.0)


def _joined(found: list[Ids]) -> Ids:
    return np.concatenate(found) if found else np.zeros(0, np.uint16)
