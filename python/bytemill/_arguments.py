"""Checks of arguments, with messages that name the value and what would be accepted."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast, get_args

from bytemill._types import TieBreak

MAX_VOCAB_SIZE = 2**32
"""Ids are 32-bit."""

_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 100


def shown(value: object) -> str:
    """A value as messages name it: its repr, shortened if it is long."""
    return _REPR.repr(value)


def check_str(name: str, value: object, expected: str = "a str") -> str:
    """`value`, if it is a str; TypeError otherwise, which says what was `expected`."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={shown(value)}: expected {expected}")
    return value


def check_iterable(name: str, value: object, expected: str) -> Iterable[Any]:
    """`value`, if it can be iterated over and is neither text nor bytes; TypeError otherwise."""
    # Without `iter`, as some can be iterated over once; by index is Python's older way.
    can = isinstance(value, Iterable) or hasattr(type(value), "__getitem__")
    if isinstance(value, (str, bytes, bytearray)) or not can:
        raise TypeError(f"{name}={shown(value)}: expected {expected}")
    return cast("Iterable[Any]", value)


def check_mapping(name: str, value: object, expected: str) -> Mapping[Any, Any]:
    """`value`, if it is a mapping; TypeError otherwise."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={shown(value)}: expected {expected}")
    return value


def check_callable(name: str, value: object) -> None:
    """Refuses with TypeError what can neither be called nor is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}={shown(value)}: expected a function, or None")


def check_special_token(where: str, token: object) -> str:
    """`token`, if it can be a special token; `where` begins the message.

    Raises:
        TypeError: It is not a str.
        ValueError: It is empty, or cannot be written in UTF-8.
    """
    if not isinstance(token, str):
        raise TypeError(f"{where}{shown(token)}: a special token must be a str")
    if not token:
        raise ValueError(f"{where}'': a special token must not be empty")
    if any("\ud800" <= char <= "\udfff" for char in token):
        raise ValueError(f"{where}{token!r}: it holds a surrogate, which UTF-8 cannot express")
    return token


def check_special_tokens(special_tokens: Iterable[str]) -> list[str]:
    """The special tokens as a list.

    Raises:
        TypeError: One of them is not a str; or together they are a str, a set or a dict, or cannot
            be iterated over.
        ValueError: One is empty, comes twice, or cannot be written in UTF-8.
    """
    if isinstance(special_tokens, (str, bytes)):
        raise TypeError(
            f"special_tokens={shown(special_tokens)}: pass a list of strings: "
            f"[{shown(special_tokens)}]"
        )
    if isinstance(special_tokens, (set, frozenset, Mapping)):
        # The order of a set is another in each process.
        raise TypeError(
            f"special_tokens={shown(special_tokens)}: pass a list of strings, as their order "
            "decides their ids"
        )
    check_iterable("special_tokens", special_tokens, "a list of strings; [] or () for none")
    tokens = list(special_tokens)
    seen = set()
    for i, token in enumerate(tokens):
        check_special_token(f"special_tokens[{i}]=", token)
        if token in seen:
            raise ValueError(f"special_tokens[{i}]={token!r}: a special token is given twice")
        seen.add(token)
    return tokens


def check_special_ids(special_tokens: Mapping[str, int] | None) -> dict[str, int]:
    """A copy of special tokens with their ids; TypeError for what is neither a mapping nor None."""
    wanted = "a dict of special tokens and their ids, or None"
    given = {} if special_tokens is None else special_tokens
    return dict(check_mapping("special_tokens", given, wanted))


def check_pairs(name: str, pairs: object) -> list[tuple[bytes, bytes]]:
    """A list of pairs of bytes; TypeError for what holds anything else."""
    checked = []
    for pair in check_iterable(name, pairs, "a list of pairs of bytes"):
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not is_pair or not all(isinstance(part, bytes) for part in pair):
            raise TypeError(f"{name}: {shown(pair)} is not a pair of bytes")
        checked.append((pair[0], pair[1]))
    return checked


def check_tie_break(tie_break: str) -> TieBreak:
    """`tie_break`, or ValueError with the choices."""
    for choice in get_args(TieBreak):
        if tie_break == choice:
            return choice  # type: ignore[no-any-return]
    raise ValueError(
        f"tie_break={shown(tie_break)}: it must be one of {_listed(get_args(TieBreak))}"
    )


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str]) -> int:
    """`vocab_size` as an int.

    Raises:
        TypeError: It is not an integer.
        ValueError: It cannot hold the bytes and the special tokens, or has more ids than 32 bits.
    """
    size = check_integer("vocab_size", vocab_size)
    least = 256 + len(special_tokens)
    if size < least:
        raise ValueError(
            f"vocab_size={size} is too small: 256 bytes and {len(special_tokens)} special tokens "
            f"need at least {least}"
        )
    if size > MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size={size} is too large: ids are 32-bit, so 2**32 is the most")
    return size


def check_superwords(
    superwords_from: int | None, vocab_size: int, special_tokens: Sequence[str]
) -> None:
    """Checks the size from which on merges go across pretokens, if they do.

    Raises:
        ValueError: It cannot hold the bytes and the special tokens, or is beyond `vocab_size`.
    """
    least = 256 + len(special_tokens)
    if superwords_from is not None and not least <= superwords_from <= vocab_size:
        raise ValueError(
            f"superwords_from={superwords_from}: it must be from {least} (256 bytes and "
            f"{len(special_tokens)} special tokens) to the vocabulary's size, {vocab_size}"
        )


def check_limit(name: str, value: int | None, *, least: int = 1) -> int | None:
    """`value` as an int of at least `least`, or None.

    Raises:
        TypeError: It is neither.
        ValueError: It is less.
    """
    if value is None:
        return None
    number = check_integer(name, value)
    if number < least:
        raise ValueError(f"{name}={number}: it must be at least {least}")
    if number >= 2**63:
        raise ValueError(f"{name}={number}: it must be below 2**63")
    return number


def check_integer(name: str, value: int) -> int:
    """`value` as an int; NumPy's integers are, bool and float are not. TypeError otherwise."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name}={shown(value)}: it must be an integer")


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(f'"{choice}"' for choice in choices)


IN_NO_TEXT: Final = tuple(bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100)))
"""The 13 bytes that UTF-8 never has."""


def check_ranks(ranks: dict[bytes, int], may_lack: Collection[bytes] = ()) -> None:
    """Refuses what are not tokens with ids of their own, all 256 bytes among them.

    Args:
        ranks: Tokens with their ids.
        may_lack: Single bytes that need not be among them.

    Raises:
        TypeError: For a token that is not bytes, an id that is not an int.
        ValueError: For an empty token, an id out of range or used twice, a missing byte.
    """
    for token, id_ in ranks.items():
        if not isinstance(token, bytes):
            raise TypeError(f"{shown(token)} (id {shown(id_)}) is not a token; expected bytes")
        if not token:
            raise ValueError(f"b'' (id {id_!r}) is not a token; expected at least one byte")
        check_id("", token, id_)
    missing = [b for b in range(256) if bytes([b]) not in ranks and bytes([b]) not in may_lack]
    if missing:
        raise ValueError(
            f"{len(missing)} single bytes are missing, the first 0x{missing[0]:02x}; a byte-level "
            "vocabulary holds all 256"
        )
    if len(set(ranks.values())) < len(ranks):
        seen: dict[int, bytes] = {}
        for token, id_ in ranks.items():
            if id_ in seen:
                raise ValueError(f"the tokens {seen[id_]!r} and {token!r} both have id {id_}")
            seen[id_] = token


def check_utf8(token: bytes, id_: int) -> str:
    """The text of a token that no merge makes, which can only be a special one.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        return token.decode()
    except UnicodeDecodeError:
        raise ValueError(
            f"vocab: {token!r} (id {id_}) is not a single byte, no merge makes it, and as it is "
            "not UTF-8 it cannot be a special token either"
        ) from None


def with_all_bytes(ranks: dict[bytes, int], n_vocab: int) -> dict[bytes, int]:
    """`ranks` with the single bytes that it lacks, whose ids follow all others; no text that is
    encoded has them."""
    lacking = [byte for b in range(256) if (byte := bytes([b])) not in ranks]
    first = min(n_vocab, MAX_VOCAB_SIZE - 1 - len(lacking))
    more = {byte: first + i for i, byte in enumerate(lacking)}
    return {**ranks, **more} if more else ranks


def check_id(where: str, token: object, id_: object) -> None:
    """Refuses what is not a token's id; `where` begins the message.

    Raises:
        TypeError, ValueError: For an id that is not an int, or is out of range.
    """
    if not isinstance(id_, int) or isinstance(id_, bool):
        raise TypeError(f"{where}the id of {token!r} is {shown(id_)}; expected an int")
    if not 0 <= id_ < 2**32 - 1:
        raise ValueError(f"{where}the id of {token!r} is {shown(id_)}; expected 0 to 2**32 - 2")
