"""Cutting texts to a length, and filling up to one, as `tokenizers` does both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bytemill.formats.transformers.encoding import Encoding, Part, Source

STRATEGIES: Final = ("longest_first", "only_first", "only_second")
DIRECTIONS: Final = ("left", "right")


@dataclass(frozen=True)
class Truncation:
    """How texts are cut.

    Args:
        max_length: The most tokens, those that are put around the texts included.
        stride: How many tokens of a piece come again in the next.
        strategy: Which text of a pair is cut.
        direction: At which end.
    """

    max_length: int
    stride: int = 0
    strategy: str = "longest_first"
    direction: str = "right"

    def __post_init__(self) -> None:
        _choice("strategy", self.strategy, STRATEGIES)
        _choice("direction", self.direction, DIRECTIONS)
        for name in ("max_length", "stride"):
            if getattr(self, name) < 0:
                raise OverflowError(f"{name}={getattr(self, name)}: it must be at least 0")


@dataclass(frozen=True)
class Padding:
    """How encodings are filled up.

    Args:
        length: To how many tokens; None for those of the longest of a batch.
        direction: At which end.
        pad_id: With which id.
        pad_token: Its name.
        pad_type_id: Its type.
        pad_to_multiple_of: The length is rounded up to a multiple of this.
    """

    length: int | None = None
    direction: str = "right"
    pad_id: int = 0
    pad_token: str = "[PAD]"
    pad_type_id: int = 0
    pad_to_multiple_of: int | None = None

    def __post_init__(self) -> None:
        _choice("direction", self.direction, DIRECTIONS)


def truncated(
    first: Encoding, second: Encoding | None, how: Truncation, n_around: int
) -> tuple[Encoding, Encoding | None]:
    """A text and its pair, cut so that both and `n_around` further tokens have the length.

    Where those around them alone are more than that, nothing is cut, as in `tokenizers`.

    Raises:
        ValueError: The stride is not less than the length of a piece; the text that the strategy
            names would have to go altogether, or there is no second one.
    """
    room = how.max_length - n_around
    if room < 0:
        return first, second
    n, m = len(first), 0 if second is None else len(second)
    surplus = n + m - room
    if surplus <= 0:
        return first, second
    if room == 0:
        return _cut(first, 0, how), None if second is None else _cut(second, 0, how)
    if how.strategy == "longest_first":
        if second is None:
            return _cut(first, room, how), None
        shorter, longer = min(n, m), max(n, m)
        # The longer one goes down to the shorter, from there on both.
        longer = max(shorter, room - shorter) if shorter <= room else shorter
        if shorter + longer > room:
            shorter, longer = room // 2, room // 2 + room % 2
        n, m = (longer, shorter) if n > m else (shorter, longer)
        return _cut(first, n, how), _cut(second, m, how)
    target = first if how.strategy == "only_first" else second
    if target is None:
        raise ValueError("truncation='only_second' needs a second text, and there is only one")
    if len(target) <= surplus:
        raise ValueError(
            f"truncation={how.strategy!r} cannot reach max_length={how.max_length}: "
            f"{surplus} tokens have to go, and that text has {len(target)}"
        )
    cut = _cut(target, len(target) - surplus, how)
    return (cut, second) if target is first else (first, cut)


def padded(encodings: Sequence[Encoding], how: Padding) -> list[Encoding]:
    """Encodings filled up, their overflowing pieces too."""
    length = how.length
    if length is None:
        length = max(map(len, encodings), default=0)
    multiple = how.pad_to_multiple_of
    if multiple and length % multiple:
        length += multiple - length % multiple
    return [_filled(each, length, how) for each in encodings]


def _filled(encoding: Encoding, length: int, how: Padding) -> Encoding:
    pieces = [_filled(each, length, how) for each in encoding.overflowing]
    missing = length - len(encoding)
    if missing <= 0:
        return replace(encoding, overflowing=pieces)
    source = Source([how.pad_id] * missing, lambda ids: [how.pad_token] * len(ids))
    filling = (Part(source, 0, missing, None, how.pad_type_id, 0),)
    parts = filling + encoding.parts if how.direction == "left" else encoding.parts + filling
    return replace(encoding, parts=parts, overflowing=pieces)


def _cut(encoding: Encoding, length: int, how: Truncation) -> Encoding:
    """The first piece of an encoding of one part, with the others as overflowing."""
    (part,) = encoding.parts
    if length >= len(part):
        return encoding
    if length == 0:
        return Encoding((replace(part, stop=part.start),), [encoding])
    if how.stride >= length:
        raise ValueError(
            f"stride={how.stride} must be less than the {length} tokens that max_length="
            f"{how.max_length} leaves for a piece of this text"
        )
    n, step = len(part), length - how.stride
    pieces: list[Encoding] = []
    if how.direction == "right":
        for start in range(0, n, step):
            stop = min(start + length, n)
            pieces.append(_piece(part, start, stop))
            if stop == n:
                break
    else:
        for stop in range(n, 0, -step):
            start = max(0, stop - length)
            pieces.append(_piece(part, start, stop))
            if start == 0:
                break
    return replace(pieces[0], overflowing=pieces[1:])


def _piece(part: Part, start: int, stop: int) -> Encoding:
    return Encoding((replace(part, start=part.start + start, stop=part.start + stop),))


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: it must be one of {', '.join(choices)}")
