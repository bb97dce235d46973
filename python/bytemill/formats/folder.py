"""Vocabularies on disk: bytemill's own folder, .tiktoken files, GPT-2's vocab.json and merges.txt.

`save` writes two files: the ranks in tiktoken's format, named by their own hash, and bytemill.json,
which names them. The rename of bytemill.json is the one moment at which the folder changes: a crash
before it leaves what was there, a crash after it leaves at most an unused file, which the next
`save` removes.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bytemill import files, patterns
from bytemill.formats import gpt2

if TYPE_CHECKING:
    from bytemill.tokenizer.tokenizer import Tokenizer

StrPath = str | os.PathLike[str]

CONFIG_NAME: Final = "bytemill.json"
_FORMAT: Final = "bytemill-tokenizer"
_VERSION: Final = 1
_RANKS_NAME: Final = re.compile(r"ranks-[0-9a-f]{16}\.tiktoken")


def ranks_to_bytes(ranks: dict[bytes, int]) -> bytes:
    """Tokens in tiktoken's format: a line "base64 id" for each, by id."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%b %d\n" % (base64.b64encode(token), id_) for token, id_ in ordered)


def ranks_from_bytes(data: bytes, source: str) -> dict[bytes, int]:
    """Reads tiktoken's format.

    Raises:
        ValueError: For a line that is not "base64 id", or a token given twice, with its number.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            encoded, id_ = line.split()
            token = base64.b64decode(encoded, validate=True)
            rank = int(id_)
        except (ValueError, binascii.Error):
            shown = line[:60]
            raise ValueError(
                f"{source}, line {number}: {shown!r} is not a base64 token and its id; "
                "the file is damaged or no .tiktoken file"
            ) from None
        if token in ranks:
            raise ValueError(f"{source}, line {number}: the token {token!r} comes twice")
        ranks[token] = rank
    return ranks


def read_ranks(path: StrPath) -> dict[bytes, int]:
    """Reads a .tiktoken file; errors as `ranks_from_bytes`, and OSError."""
    return ranks_from_bytes(Path(path).read_bytes(), os.fspath(path))


def save(tokenizer: "Tokenizer", dir: StrPath) -> None:
    """Writes `tokenizer` to the folder `dir`, made if it is not there; one saved before is
    replaced.

    Raises:
        OSError: If the folder cannot be written to; what was in it is then as it was.
    """
    folder = Path(dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = ranks_to_bytes(tokenizer.mergeable_ranks)
    sha256 = hashlib.sha256(data).hexdigest()
    ranks_name = f"ranks-{sha256[:16]}.tiktoken"
    config = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": tokenizer.name,
        "pattern": tokenizer.pat_str,
        "special_tokens": tokenizer.special_tokens,
        "n_vocab": tokenizer.n_vocab,
        "ranks_file": ranks_name,
        "ranks_sha256": sha256,
        "fingerprint": tokenizer.fingerprint,
    }
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


def to_state(tokenizer: "Tokenizer") -> dict[str, Any]:
    """All of `tokenizer` in plain data, for pickles and messages between processes."""
    return {
        "version": _VERSION,
        "name": tokenizer.name,
        "pattern": tokenizer.pat_str,
        "special_tokens": tokenizer.special_tokens,
        "ranks": ranks_to_bytes(tokenizer.mergeable_ranks),
        "fingerprint": tokenizer.fingerprint,
    }


def restore(state: dict[str, Any]) -> "Tokenizer":
    """A tokenizer from `to_state`'s data, checked as what a file holds.

    Raises:
        TypeError, ValueError: If the data is damaged, or of another version.
    """
    from bytemill.tokenizer.tokenizer import Tokenizer

    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise ValueError("this is no state of a tokenizer that this bytemill can read")
    try:
        ranks = ranks_from_bytes(state["ranks"], "the tokenizer's state")
        name, special, pattern = state["name"], state["special_tokens"], state["pattern"]
        fingerprint = state["fingerprint"]
    except KeyError as error:
        raise ValueError(f"the tokenizer's state has no {error}") from None
    tokenizer = Tokenizer(ranks, special, pattern=pattern, name=name)
    if tokenizer.fingerprint != fingerprint:
        raise ValueError("the tokenizer's state was changed: its fingerprint is another")
    return tokenizer


def load(dir: StrPath) -> "Tokenizer":
    """Reads a folder that `save` wrote.

    Raises:
        FileNotFoundError: If there is no bytemill.json in `dir`.
        ValueError: If a file is damaged, missing or from a later version; the message names it.
    """
    from bytemill.tokenizer.tokenizer import Tokenizer

    config_path = Path(dir) / CONFIG_NAME
    if not config_path.is_file():
        raise FileNotFoundError(
            f"{config_path}: no such file; load takes a folder that Tokenizer.save wrote"
        )
    config = files.read_json_object(config_path)
    if config.get("format") != _FORMAT:
        raise _bad(config_path, f'"format" is {config.get("format")!r}, not {_FORMAT!r}')
    if config.get("version") != _VERSION:
        raise ValueError(
            f"{config_path}: version {config.get('version')!r} of the format; this bytemill reads "
            f"version {_VERSION}: update bytemill, or save the tokenizer again with this one"
        )
    ranks_name = _field(config_path, config, "ranks_file", str)
    if not _RANKS_NAME.fullmatch(ranks_name):
        raise _bad(config_path, f'"ranks_file" is {ranks_name!r}')
    ranks_path = config_path.with_name(ranks_name)
    try:
        data = ranks_path.read_bytes()
    except FileNotFoundError:
        raise _bad(ranks_path, f"the file is missing, though {CONFIG_NAME} names it") from None
    if hashlib.sha256(data).hexdigest() != _field(config_path, config, "ranks_sha256", str):
        raise _bad(ranks_path, f"its SHA-256 is not the one in {CONFIG_NAME}")
    special = _field(config_path, config, "special_tokens", dict)
    pattern = _field(config_path, config, "pattern", str)
    name = _field(config_path, config, "name", str)
    try:
        ranks = ranks_from_bytes(data, os.fspath(ranks_path))
        tokenizer = Tokenizer(ranks, special, pattern=pattern, name=name)
    except (TypeError, ValueError) as error:
        raise _bad(config_path, str(error)) from error
    for key in ("n_vocab", "fingerprint"):
        if config.get(key) != getattr(tokenizer, key):
            raise _bad(
                config_path,
                f'"{key}" is {config.get(key)!r}, but the files give {getattr(tokenizer, key)!r}',
            )
    return tokenizer


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


def from_files(
    vocab_path: StrPath, merges_path: StrPath, special_tokens: Sequence[str] | None, pattern: str
) -> "Tokenizer":
    """Reads a vocabulary in the two files of GPT-2's release.

    Args:
        vocab_path: vocab.json: tokens in GPT-2's byte alphabet with their ids.
        merges_path: merges.txt: a merge "left right" a line, in order, perhaps after a "#version"
            line.
        special_tokens: Those in vocab.json have their id there, others get the next free ones. None
            takes every entry of vocab.json that is no byte and that no merge makes as special.
        pattern: As in `Tokenizer`; the files do not say it.

    Raises:
        OSError: If a file cannot be read.
        TypeError: If `special_tokens` is a str, or holds anything else.
        ValueError: If a file is damaged; if a merge's tokens are not in the vocabulary; if ids do
            not follow the order of the merges, since ids decide which merge goes first here.
    """
    from bytemill.tokenizer.tokenizer import Tokenizer

    if isinstance(special_tokens, str):
        raise TypeError(f"special_tokens={special_tokens!r}: expected a list of str")
    vocab = files.read_json_object(vocab_path)
    merges = gpt2.read_merges(merges_path)
    if special_tokens is None:
        made = {left + right for left, right in merges}
        tokens = ((text, gpt2.from_text(text)) for text in vocab)
        special_tokens = [t for t, b in tokens if not b or (len(b) > 1 and b not in made)]
    special: dict[str, int] = {}
    new: list[str] = []
    for text in special_tokens:
        if not isinstance(text, str):
            raise TypeError(f"special_tokens: {text!r} is no str")
        if text in special or text in new:
            raise ValueError(f"special_tokens: {text!r} is given twice")
        if text not in vocab:
            new.append(text)
            special[text] = -1  # keeps its place in the order given
        else:
            special[text] = vocab[text]
    ranks = gpt2.split_vocabulary(vocab, special, os.fspath(vocab_path))
    after = max([*ranks.values(), *special.values()], default=-1) + 1
    special.update((text, after + i) for i, text in enumerate(new))
    try:
        tokenizer = Tokenizer(ranks, special, pattern=patterns.canonical(pattern))
    except ValueError as error:
        raise ValueError(f"{os.fspath(vocab_path)}: {error}") from error
    gpt2.check_merges(tokenizer, merges, os.fspath(merges_path), whole_tokens=False)
    return tokenizer
