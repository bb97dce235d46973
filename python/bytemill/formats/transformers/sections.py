"""A tokenizer.json's sections on cutting and filling, in and out."""

from __future__ import annotations

from typing import Any, Final

from bytemill.formats.transformers.truncation import Padding, Truncation

_STRATEGIES: Final = {
    "LongestFirst": "longest_first",
    "OnlyFirst": "only_first",
    "OnlySecond": "only_second",
}
_NAMES: Final = {strategy: name for name, strategy in _STRATEGIES.items()}


def read_truncation(section: dict[str, Any] | None) -> Truncation | None:
    """The settings of a file's "truncation".

    Raises:
        ValueError: It is not one.
    """
    if section is None:
        return None
    try:
        return Truncation(
            max_length=section["max_length"],
            stride=section["stride"],
            strategy=_STRATEGIES[section["strategy"]],
            direction=section.get("direction", "Right").lower(),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"truncation is {section!r}, which tokenizers does not write") from error


def read_padding(section: dict[str, Any] | None) -> Padding | None:
    """The settings of a file's "padding".

    Raises:
        ValueError: It is not one.
    """
    if section is None:
        return None
    try:
        strategy = section["strategy"]
        return Padding(
            length=None if strategy == "BatchLongest" else strategy["Fixed"],
            direction=section["direction"].lower(),
            pad_id=section["pad_id"],
            pad_token=section["pad_token"],
            pad_type_id=section["pad_type_id"],
            pad_to_multiple_of=section.get("pad_to_multiple_of"),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"padding is {section!r}, which tokenizers does not write") from error


def write_truncation(how: Truncation | None) -> dict[str, Any] | None:
    """What `read_truncation` reads."""
    if how is None:
        return None
    return {
        "direction": how.direction.capitalize(),
        "max_length": how.max_length,
        "strategy": _NAMES[how.strategy],
        "stride": how.stride,
    }


def write_padding(how: Padding | None) -> dict[str, Any] | None:
    """What `read_padding` reads."""
    if how is None:
        return None
    return {
        "strategy": "BatchLongest" if how.length is None else {"Fixed": how.length},
        "direction": how.direction.capitalize(),
        "pad_to_multiple_of": how.pad_to_multiple_of,
        "pad_id": how.pad_id,
        "pad_type_id": how.pad_type_id,
        "pad_token": how.pad_token,
    }
