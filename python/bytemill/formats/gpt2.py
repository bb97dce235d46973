"""GPT-2's printable stand-ins for bytes, and its vocab.json and merges.txt."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bytemill.tokenizer.tokenizer import Tokenizer

Pair = tuple[bytes, bytes]


@functools.cache
def _tables() -> tuple[dict[int, str], dict[str, int]]:
    """Byte -> character and back: printable Latin-1 is itself, the other 68 bytes follow 255."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (b for b in range(256) if b not in printable)
    to_char = {b: chr(b) for b in printable}
    to_char.update({b: chr(256 + i) for i, b in enumerate(others)})
    return to_char, {char: byte for byte, char in to_char.items()}


def to_text(token: bytes) -> str:
    """A token as GPT-2 writes it: one printable character for each byte (space is "Ġ")."""
    return token.decode("latin-1").translate(_tables()[0])


def from_text(text: str) -> bytes | None:
    """The bytes that `to_text` wrote as `text`; None if a character is not one of its 256."""
    to_byte = _tables()[1]
    try:
        return bytes([to_byte[char] for char in text])
    except KeyError:
        return None


def split_vocabulary(
    vocab: Mapping[str, int], special: Mapping[str, int], source: str
) -> dict[bytes, int]:
    """The ranks in a vocabulary written by `to_text`, its special tokens left out.

    Raises:
        ValueError: For an entry that is neither special nor written so, or whose id is none,
            naming it.
    """
    ranks: dict[bytes, int] = {}
    for text, id_ in vocab.items():
        if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 0:
            raise ValueError(
                f"{source}: the id of {text!r} is {id_!r}, not an integer of 0 or more"
            )
        if text in special:
            continue
        token = from_text(text)
        if not token:
            raise ValueError(
                f"{source}: {text!r} (id {id_}) is not written in GPT-2's byte alphabet; "
                "if it is a special token, list it as one"
            )
        ranks[token] = id_
    return ranks


def parse_merge(merge: object, source: str) -> Pair:
    """The two tokens of one merge, written "l r" or [l, r].

    Raises:
        ValueError: If it is anything else.
    """
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if isinstance(parts, list) and len(parts) == 2 and all(isinstance(p, str) for p in parts):
        left, right = from_text(parts[0]), from_text(parts[1])
        if left and right:
            return left, right
    raise ValueError(f"{source}: {merge!r} is no merge of two tokens in GPT-2's byte alphabet")


def check_merges(
    tokenizer: "Tokenizer", merges: Sequence[Pair], source: str, *, whole_tokens: bool
) -> None:
    """Checks that applying `merges` in their order is what `tokenizer`'s ranks do.

    Ranks have one way to make each token (see `Tokenizer.merges`), so `merges` must hold that pair
    for every token, in the order of the results' ids; further pairs never apply. With
    `whole_tokens` a pretoken that is a token is taken at once, so that a token may also lack a
    merge.

    Raises:
        ValueError: Naming the merge, or the token, that does not fit.
    """
    ranks = tokenizer.mergeable_ranks
    for left, right in merges:
        for token in (left, right, left + right):
            if token not in ranks:
                raise ValueError(
                    f"{source}: the merge {_show(left, right)} needs the token {to_text(token)!r}, "
                    "which is not in the vocabulary"
                )
    place = {pair: i for i, pair in enumerate(merges)}
    last: tuple[int, Pair | None] = (-1, None)
    for token, pair in tokenizer._splits().items():
        if pair is None:
            if whole_tokens:
                continue
            raise ValueError(
                f"{source}: {to_text(token)!r} (id {ranks[token]}) is no single byte and no merge "
                "makes it; if it is a special token, list it in special_tokens"
            )
        at = place.get(pair)
        if at is None:
            raise ValueError(
                f"{source}: {to_text(token)!r} (id {ranks[token]}) is not among the results of the "
                f"merges, which by its id would hold {_show(*pair)}; if it is a special token, "
                "list it in special_tokens"
            )
        if at < last[0] and last[1] is not None:
            raise ValueError(
                f"{source}: ids do not follow the order of the merges: {_show(*last[1])} comes "
                f"after {_show(*pair)} but its result has the lower id. Ids decide which merge "
                "goes first here, so this vocabulary would encode text differently"
            )
        last = (at, pair)


def _show(left: bytes, right: bytes) -> str:
    return f"{to_text(left)!r} + {to_text(right)!r}"


def read_merges(path: str | os.PathLike[str]) -> list[Pair]:
    """The merges in a merges.txt, in order; a first line that begins with "#version" is skipped.

    Raises:
        OSError: If it cannot be read.
        ValueError: For a line that is no merge, with its number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8: {error}") from error
    return [
        parse_merge(line.rstrip("\r"), f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not (number == 1 and line.startswith("#version"))
    ]
