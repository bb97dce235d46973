"""A tokenizer.json's added tokens, numbered as `tokenizers` numbers them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bytemill.formats.byte_alphabet import from_text
from bytemill.shape import AddedToken

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_SHORT: Final = 200
"""Characters of a token of which all beginnings and ends may be kept."""


def read(
    entries: Any, vocab: Mapping[str, int], n_vocab: int, source: str
) -> dict[AddedToken, int]:
    """The added tokens, in their order, with their ids.

    `tokenizers` does not look at the ids in the file: a token of the model's vocabulary has its id
    there, others get the next ids after as many as the model has tokens.

    Args:
        entries: "added_tokens".
        vocab: The model's vocabulary, or what of it are added tokens.
        n_vocab: How many tokens the model's vocabulary has.
        source: For messages.

    Raises:
        ValueError: For an entry that is not an added token, one that comes twice, or an id
            other than the one that `tokenizers` would give, naming it.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{source}: added_tokens is {entries!r}, not a list")
    tokens: dict[str, AddedToken] = {}
    ids: dict[AddedToken, int] = {}
    following = n_vocab
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{source}: added_tokens is {entry!r}, not an object")
        text, id_ = entry.get("content"), entry.get("id")
        if not isinstance(text, str) or not isinstance(id_, int) or isinstance(id_, bool):
            raise ValueError(f"{source}: {entry!r} is not an added token with a content and an id")
        if not text:
            raise ValueError(f"{source}: an added token (id {id_}) must not be empty")
        flags = {}
        for key in _FLAGS:
            flags[key] = entry.get(key, key == "special")
            if not isinstance(flags[key], bool):
                raise ValueError(
                    f"{source}: {key} of {text!r} is {flags[key]!r}, neither true nor false"
                )
        token = AddedToken(text, **flags)
        if text in tokens:
            if tokens[text] == token and ids[token] == id_:
                continue
            raise ValueError(f"{source}: the added token {text!r} comes twice, each time otherwise")
        expected = vocab.get(text)
        if expected is None:
            expected, following = following, following + 1
        if id_ != expected:
            raise ValueError(
                f"{source}: the id of the added token {text!r} is {id_} in the file, for which "
                f"bytemill has no counterpart: tokenizers does not look at it and gives {expected}"
            )
        tokens[text], ids[token] = token, id_
    return ids


def need_passes(added: list[AddedToken], *, normalizes: bool) -> bool:
    """Whether it makes a difference that tokens are looked for in two passes and with manners."""
    late = [token.content for token in added if token.normalized]
    early = [token.content for token in added if not token.normalized]
    return (
        any(token.single_word or token.lstrip or token.rstrip for token in added)
        or (normalizes and bool(late))
        or _any_overlap(late, early)
    )


def pretokens(
    added: Iterable[AddedToken], *, whole_tokens: bool, normalizes: bool
) -> frozenset[str]:
    """Those that a pretoken may be without being found, and is then as an ordinary token: beside a
    letter, or where a normalizer makes them.

    Args:
        added: The added tokens.
        whole_tokens: Whether a pretoken that is a token is that token though no merge makes it.
        normalizes: Whether text is normalized.
    """
    return frozenset(
        token.content for token in added if whole_tokens and (token.single_word or normalizes)
    )


def as_ordinary(token: AddedToken) -> bytes | None:
    """The bytes that an added token is as an ordinary one, if they are its text."""
    read_as = from_text(token.content)
    return read_as if read_as == token.content.encode() else None


def _any_overlap(some: list[str], others: list[str]) -> bool:
    """Whether occurrences of one of `some` and of one of `others` can share characters."""
    if any(a in b or b in a for a in some for b in others):
        return True
    if max(map(len, (*some, *others)), default=0) > _SHORT:  # all ends would be many bytes
        return any(_overlap(a, b) for a in some for b in others)
    return not (_heads(some).isdisjoint(_tails(others)) and _tails(some).isdisjoint(_heads(others)))


def _overlap(a: str, b: str) -> bool:
    return any(a.endswith(b[:n]) or b.endswith(a[:n]) for n in range(1, min(len(a), len(b)) + 1))


def _heads(texts: list[str]) -> set[str]:
    return {text[:n] for text in texts for n in range(1, len(text) + 1)}


def _tails(texts: list[str]) -> set[str]:
    return {text[n:] for text in texts for n in range(len(text))}
