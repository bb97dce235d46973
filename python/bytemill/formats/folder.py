"""bytemill's own folder for a vocabulary, and the same data in a pickle.

`save` writes two files: the ranks in tiktoken's format, named by their own hash, and bytemill.json,
which names them. The rename of bytemill.json is the one moment at which the folder changes: a crash
before it leaves what was there, a crash after it leaves at most an unused file, which the next
`save` removes.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from bytemill import _core, files
from bytemill.folder_lock import locked
from bytemill.formats import selfcheck
from bytemill.formats.tiktoken import (
    ranks_from_bytes,
    ranks_in_order,
    ranks_to_bytes,
    read_ranks,
)
from bytemill.shape import Shape
from bytemill.vocabulary import Vocabulary

StrPath = str | os.PathLike[str]

CONFIG_NAME: Final = "bytemill.json"
_FORMAT: Final = "bytemill-tokenizer"
_VERSION: Final = 1
DOING: Final = "another process is making a tokenizer in"
"""What `locked` says of those that write there."""
_PATIENCE_S: Final = 5.0
_RANKS_NAME: Final = re.compile(r"ranks-[0-9a-f]{16}\.tiktoken")


def save(vocabulary: Vocabulary, dir: StrPath) -> None:
    """Writes `vocabulary` to the folder `dir`, made if it is not there; one saved before is
    replaced.

    Others that save there at this moment are waited for.

    Raises:
        OSError: If the folder cannot be written to; what was in it is then as it was.
        ValueError: If `dir` is empty; or another process goes on writing there, as a program that
            trains a tokenizer does.
    """
    folder = files.named("dir", dir)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, DOING, wait_s=_PATIENCE_S):
        write(vocabulary, folder)


def write(vocabulary: Vocabulary, folder: Path) -> None:
    """`save` to a folder that is there, and locked.

    Raises:
        OSError: As `save`.
    """
    data = _ranks(vocabulary)
    sha256 = hashlib.sha256(data).hexdigest()
    ranks_name = f"ranks-{sha256[:16]}.tiktoken"
    config = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": vocabulary.name,
        "pattern": vocabulary.pat_str,
        "special_tokens": vocabulary.special_tokens,
        "n_vocab": vocabulary.n_vocab,
        "ranks_file": ranks_name,
        "ranks_sha256": sha256,
        "fingerprint": vocabulary.fingerprint,
    }
    if vocabulary.shape is not None:
        config["shape"] = vocabulary.shape.to_state()
    ranks_path = folder / ranks_name
    had_ranks = ranks_path.exists()
    try:
        files.write_bytes(ranks_path, data)
        files.write_bytes(folder / CONFIG_NAME, (json.dumps(config, indent=2) + "\n").encode())
    except BaseException:
        if not had_ranks:
            ranks_path.unlink(missing_ok=True)
        raise
    for old in folder.iterdir():
        if _RANKS_NAME.fullmatch(old.name) and old.name != ranks_name:
            old.unlink(missing_ok=True)


def to_state(vocabulary: Vocabulary) -> dict[str, Any]:
    """All of `vocabulary` in plain data, for pickles and messages between processes."""
    return {
        "version": _VERSION,
        "name": vocabulary.name,
        "pattern": vocabulary.pat_str,
        "special_tokens": vocabulary.special_tokens,
        "ranks": _ranks(vocabulary),
        "fingerprint": vocabulary.fingerprint,
        "shape": None if vocabulary.shape is None else vocabulary.shape.to_state(),
    }


def _ranks(vocabulary: Vocabulary) -> bytes:
    """The tokens with their ids, by rank."""
    if vocabulary.shape is None or vocabulary.shape.n_merged is None:
        return ranks_to_bytes(vocabulary.mergeable_ranks)
    return ranks_in_order(vocabulary.mergeable_ranks)


def _read_ranks(data: bytes, source: str, shape: Shape | None) -> dict[bytes, int] | _core.Ranks:
    # Where ranks are not ids, they are the order of the file.
    if shape is None or shape.n_merged is None:
        return read_ranks(data, source)
    return ranks_from_bytes(data, source)


def _shape(state: dict[str, Any]) -> Shape | None:
    if state.get("shape") is None:
        return None
    shape = Shape.from_state(state["shape"])
    selfcheck.refuse_depth(shape.document, "its shape")
    return shape


def from_state(state: dict[str, Any]) -> Vocabulary:
    """The vocabulary of `to_state`'s data, checked as what a file holds is.

    Raises:
        TypeError, ValueError: If the data is damaged, or of another version.
    """
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise ValueError("this is not the state of a tokenizer that this bytemill can read")
    try:
        name, special, pattern = state["name"], state["special_tokens"], state["pattern"]
        fingerprint, shape = state["fingerprint"], _shape({"shape": state["shape"]})
        ranks = _read_ranks(state["ranks"], "the tokenizer's state", shape)
    except KeyError as error:
        raise ValueError(f"the tokenizer's state has no {error}") from None
    vocabulary = Vocabulary(ranks, special, pattern=pattern, name=name, shape=shape)
    if vocabulary.fingerprint != fingerprint:
        raise ValueError("the tokenizer's state was changed: its fingerprint is a different one")
    return vocabulary


def load(dir: StrPath) -> Vocabulary:
    """Reads a folder that `save` wrote.

    Raises:
        FileNotFoundError: If there is no bytemill.json in `dir`.
        ValueError: If a file is damaged, missing or from a later version; the message names it.
    """
    config_path = files.named("dir", dir) / CONFIG_NAME
    while True:
        try:
            return _load(config_path)
        except _ReplacedError:
            continue


class _ReplacedError(Exception):
    """Another tokenizer was saved to the folder while it was read."""


def _load(config_path: Path) -> Vocabulary:
    if not config_path.is_file():
        raise FileNotFoundError(
            f"{config_path}: no such file; load takes a folder that Tokenizer.save wrote"
        )
    remedy = "save the tokenizer again with this one"
    config = files.read_versioned(config_path, _FORMAT, _VERSION, remedy)
    ranks_name = _field(config_path, config, "ranks_file", str)
    if not _RANKS_NAME.fullmatch(ranks_name):
        raise _bad(config_path, f'"ranks_file" is {ranks_name!r}')
    ranks_path = config_path.with_name(ranks_name)
    try:
        data = ranks_path.read_bytes()
    except FileNotFoundError:
        if files.read_json_object(config_path).get("ranks_file") != ranks_name:
            raise _ReplacedError from None
        raise _bad(ranks_path, f"the file is missing, though {CONFIG_NAME} names it") from None
    if hashlib.sha256(data).hexdigest() != _field(config_path, config, "ranks_sha256", str):
        raise _bad(ranks_path, f"its SHA-256 is not the one in {CONFIG_NAME}")
    special = _field(config_path, config, "special_tokens", dict)
    pattern = _field(config_path, config, "pattern", str)
    name = _field(config_path, config, "name", str)
    try:
        shape = _shape(config)
        ranks = _read_ranks(data, os.fspath(ranks_path), shape)
        vocabulary = Vocabulary(ranks, special, pattern=pattern, name=name, shape=shape)
    except (TypeError, ValueError) as error:
        raise _bad(config_path, str(error)) from error
    for key in ("n_vocab", "fingerprint"):
        if config.get(key) != getattr(vocabulary, key):
            raise _bad(
                config_path,
                f'"{key}" is {config.get(key)!r}, but the files give {getattr(vocabulary, key)!r}',
            )
    return vocabulary


def _field(path: Path, config: dict[str, Any], key: str, kind: type) -> Any:
    value = config.get(key)
    if not isinstance(value, kind):
        raise _bad(path, f'"{key}" is {value!r}, not {kind.__name__}')
    return value


def _bad(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path}: {reason}; the saved tokenizer was changed or damaged: save it again or "
        "restore it from a copy"
    )
