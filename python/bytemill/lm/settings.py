"""Fields of settings that say their meaning, range and default in one place.

A group of settings is a frozen dataclass whose fields are made by `option` and whose
`__post_init__` calls `check`. Flags, files and messages are made of its fields; none of them has a
second list.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from dataclasses import dataclass
from typing import Any, Final, Literal, Union

AUTO: Final = "auto"
"""What stands for "derived from the other settings" where None has a meaning of its own."""


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    derived: str | None = None,
    flag: str | None = None,
    decides: bool = True,
) -> Any:
    """A dataclass field with its help text and range, which flags, files and messages share.

    Args:
        default: Its value where none is given; without one the field must be given.
        help: What it is, with its unit: the flag's help and the field's documentation.
        least, above, most, below: The range of a number; `above` and `below` are not in it.
        derived: What a default of None or "auto" comes to, in words.
        flag: The flag's name without dashes, where it is not the field's own.
        decides: Whether it decides the weights, so that a run that goes on must have the same.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "least": least,
            "above": above,
            "most": most,
            "below": below,
            "derived": derived,
            "flag": flag,
            "decides": decides,
        },
    )


@dataclass(frozen=True)
class Kind:
    """A field's type, taken apart."""

    plain: type
    """str, int, float or bool."""
    choices: tuple[str, ...]
    """The only strings, if not empty."""
    words: tuple[str, ...]
    """Strings that may stand in place of a value of the plain type, like "auto"."""
    optional: bool
    """Whether None may be."""


def kind_of(hint: Any) -> Kind:
    """Takes apart int, float, str, bool, a Literal of strings, or a union of one of these with
    None and with a Literal of "auto".

    Raises:
        TypeError: For another type.
    """
    is_union = typing.get_origin(hint) in (Union, types.UnionType)
    parts = typing.get_args(hint) if is_union else (hint,)
    plain: list[type] = []
    choices: list[str] = []
    for part in parts:
        if typing.get_origin(part) is Literal:
            choices += typing.get_args(part)
        elif part is not type(None):
            plain.append(part)
    if len(plain) > 1 or not set(plain) <= {int, float, str, bool} or not (plain or choices):
        raise TypeError(f"{hint}: no kind of setting; use int, float, str, bool or Literal")
    optional = type(None) in parts
    if plain:
        return Kind(plain[0], (), tuple(choices), optional)
    return Kind(str, tuple(choices), (), optional)


@functools.cache
def kinds(group: type) -> dict[str, Kind]:
    """The fields of a dataclass of settings, by name and in order."""
    hints = typing.get_type_hints(group)
    return {field.name: kind_of(hints[field.name]) for field in dataclasses.fields(group)}


def flag_name(field: dataclasses.Field[Any]) -> str:
    """The name of a field's flag, with underscores: "batch_size"."""
    return field.metadata.get("flag") or field.name


def fault(field: dataclasses.Field[Any], kind: Kind, value: Any) -> Exception | None:
    """What is wrong with a value for a field: a TypeError or ValueError whose text says what it
    must be; None if nothing is."""
    if (value is None and kind.optional) or (isinstance(value, str) and value in kind.words):
        return None
    is_int = isinstance(value, int) and not isinstance(value, bool)
    good = is_int if kind.plain is int else isinstance(value, kind.plain)
    if kind.plain is float:
        good = is_int or isinstance(value, float)
    if not good:
        others = [f'"{word}"' for word in kind.words] + (["null"] if kind.optional else [])
        return TypeError("it must be " + " or ".join([_WORDS[kind.plain], *others]))
    if kind.choices and value not in kind.choices:
        return ValueError(f"it must be one of {', '.join(f'{c!r}' for c in kind.choices)}")
    if kind.plain in (int, float):
        low, above, high, below = (field.metadata.get(name) for name in LIMITS)
        outside = (
            (low is not None and value < low)
            or (above is not None and value <= above)
            or (high is not None and value > high)
            or (below is not None and value >= below)
        )
        # Integers may be too large to be a number of that kind.
        if outside or (abs(value) > sys.float_info.max if is_int else not math.isfinite(value)):
            return ValueError(f"it must be {range_of(field) or 'finite'}")
    return None


LIMITS: Final = ("least", "above", "most", "below")
"""The keys of a range in a field's metadata."""
_WORDS: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def range_of(field: dataclasses.Field[Any]) -> str:
    """A number's range in words: "at least 1", "above 0 and at most 1"; empty if any may be."""
    words = ("at least", "above", "at most", "below")
    limits = zip(words, (field.metadata.get(name) for name in LIMITS), strict=True)
    return " and ".join(f"{word} {_shown(limit)}" for word, limit in limits if limit is not None)


def _shown(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def check(settings: Any) -> None:
    """Checks all fields of a dataclass of settings; integers in fields of numbers become floats,
    and NumPy's numbers Python's.

    Raises:
        TypeError: A field has a value of another type; the message names both.
        ValueError: A value is out of range; the message names the field and the range.
    """
    group: Any = type(settings)
    known = kinds(group)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:
            value = value.item()
            object.__setattr__(settings, field.name, value)
        if error := fault(field, known[field.name], value):
            raise type(error)(f"{field.name}={value!r}: {error}")
        if known[field.name].plain is float and isinstance(value, int):
            object.__setattr__(settings, field.name, float(value))


def word(value: Any) -> str:
    """A value as it is written on a command line, or "empty"."""
    is_word = value is None or isinstance(value, bool)
    return (str(value).lower() if is_word else str(value)) or "empty"


def description(field: dataclasses.Field[Any]) -> str:
    """A field's help with its range and its default, on one line."""
    text = str(field.metadata.get("help", ""))
    if words := range_of(field):
        text += f"; {words}"
    default = field.default
    shown = "" if default is dataclasses.MISSING else word(default)
    shown = field.metadata.get("derived") or shown
    return f"{text} (default: {shown})" if shown else text
