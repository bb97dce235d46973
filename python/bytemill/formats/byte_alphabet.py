"""GPT-2's printable stand-ins for bytes, in which its files and Hugging Face's write tokens."""

import functools
from collections.abc import Mapping

from bytemill.vocabulary import Pair


@functools.cache
def _tables() -> tuple[dict[int, str], dict[int, str]]:
    """Byte -> character and back, for `str.translate`: printable Latin-1 is itself, the other
    68 bytes follow 255. On the way back, what stands for no byte is not Latin-1 either."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (b for b in range(256) if b not in printable)
    to_char = {b: chr(b) for b in printable}
    to_char.update({b: chr(256 + i) for i, b in enumerate(others)})
    back = dict.fromkeys(range(256), "\uffff")
    back.update({ord(char): chr(byte) for byte, char in to_char.items()})
    return to_char, back


def to_text(token: bytes) -> str:
    """A token as GPT-2 writes it: one printable character for each byte (space is "Ġ")."""
    return token.decode("latin-1").translate(_tables()[0])


def shown(token: bytes) -> str:
    """A token as it stands in a file, in quotes, for messages."""
    return repr(to_text(token))


def from_text(text: str) -> bytes | None:
    """The bytes that `to_text` wrote as `text`; None if a character is not one of its 256."""
    try:
        # Three times as fast as looking up each character here.
        return text.translate(_tables()[1]).encode("latin-1")
    except UnicodeEncodeError:
        return None


class Texts(dict[str, bytes | None]):
    """`from_text` of texts that come again and again."""

    def __missing__(self, text: str) -> bytes | None:
        token = self[text] = from_text(text)
        return token


def parse_ranks(
    vocab: Mapping[str, int], special: Mapping[str, int], source: str, texts: Texts | None = None
) -> dict[bytes, int]:
    """The ordinary tokens of a vocabulary written by `to_text`, with their ids.

    Args:
        vocab: The tokens as they are written, with their ids.
        special: Those that are left out.
        source: For messages.
        texts: What is known of them.

    Raises:
        ValueError: For an entry that is neither special nor written so, or whose id is not an
            integer of 0 or more, naming it.
    """
    ranks: dict[bytes, int] = {}
    texts = Texts() if texts is None else texts
    for text, id_ in vocab.items():
        if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 0:
            raise ValueError(
                f"{source}: the id of {text!r} is {id_!r}, not an integer of 0 or more"
            )
        if text in special:
            continue
        token = texts[text]
        if not token:
            raise ValueError(
                f"{source}: {text!r} (id {id_}) is not written in GPT-2's byte alphabet; "
                "if it is a special token, list it as one"
            )
        ranks[token] = id_
    return ranks


def parse_merge(merge: object, source: str, texts: Texts | None = None) -> Pair:
    """The two tokens of one merge, written "l r" or [l, r].

    Args:
        merge: As a file has it.
        source: For messages.
        texts: What is known of the tokens.

    Raises:
        ValueError: If it is anything else.
    """
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if isinstance(parts, list) and len(parts) == 2:
        first, second = parts
        if isinstance(first, str) and isinstance(second, str):
            texts = Texts() if texts is None else texts
            left, right = texts[first], texts[second]
            if left and right:
                return left, right
    raise ValueError(f"{source}: {merge!r} is not a merge of two tokens in GPT-2's byte alphabet")
