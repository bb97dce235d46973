"""GPT-2's printable stand-ins for bytes, in which its files and Hugging Face's write tokens."""

import functools
from collections.abc import Mapping

from bytemill.vocabulary import Pair


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


def shown(token: bytes) -> str:
    """A token as it stands in a file, in quotes, for messages."""
    return repr(to_text(token))


def from_text(text: str) -> bytes | None:
    """The bytes that `to_text` wrote as `text`; None if a character is not one of its 256."""
    to_byte = _tables()[1]
    try:
        return bytes([to_byte[char] for char in text])
    except KeyError:
        return None


def parse_ranks(
    vocab: Mapping[str, int], special: Mapping[str, int], source: str
) -> dict[bytes, int]:
    """The ordinary tokens of a vocabulary written by `to_text`, with their ids.

    Raises:
        ValueError: For an entry that is neither special nor written so, or whose id is not an
            integer of 0 or more, naming it.
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
    raise ValueError(f"{source}: {merge!r} is not a merge of two tokens in GPT-2's byte alphabet")
