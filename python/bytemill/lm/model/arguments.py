"""Arguments as Python's own numbers, and ids that are in the vocabulary.

NumPy's and torch's scalars are what they say; a bool, a str and what rounds are not numbers or ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import Field
from numbers import Integral, Number, Real
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

import torch
from torch import Tensor

from bytemill.lm.model.kernels import watched

_NAMES: Final[dict[type, str]] = {int: "an int", bool: "True or False", str: "a str"}
_TEXT: Final = (str, bytes, bytearray, memoryview)


def plain_value(value: Any) -> Any:
    """What an array or tensor without axes, or a NumPy scalar, holds; all else as it is."""
    return value.item() if _has_list(value) and getattr(value, "shape", None) == () else value


def integer(name: str, value: Any) -> int:
    """A Python, NumPy or torch integer as an int.

    Raises:
        TypeError: It is something else, a bool and 3.0 included.
    """
    plain = plain_value(value)
    if isinstance(plain, Integral) and not isinstance(plain, bool):
        return int(plain)
    raise TypeError(f"{name}={value!r}: it must be an integer")


def number(name: str, value: Any) -> float:
    """A Python, NumPy or torch number as a float.

    Raises:
        TypeError: It is something else, a bool included.
        ValueError: It is an integer beyond the range of a float.
    """
    plain = plain_value(value)
    if isinstance(plain, Real) and not isinstance(plain, bool):
        try:
            return float(plain)
        except OverflowError:
            raise ValueError(f"{name}={value!r}: it is beyond what a float can hold") from None
    raise TypeError(f"{name}={value!r}: it must be a number")


def integers(name: str, value: Any, *, unordered: bool = False) -> list[int]:
    """A list, tuple, range, array or tensor (n,) of integers as a list.

    Args:
        name: What the message calls it.
        value: What is given.
        unordered: Whether a set will do.

    Raises:
        TypeError: It is something else, or has something else in it.
    """
    kinds = (Sequence, Set) if unordered else Sequence
    plain = value.tolist() if _has_list(value) else value
    if not isinstance(plain, kinds) or isinstance(plain, _TEXT):
        raise TypeError(f"{name}={value!r}: it must be a list of integers")
    found = []
    for item in plain:
        one = item if type(item) is int else plain_value(item)
        if not isinstance(one, Integral) or isinstance(one, bool):
            raise TypeError(f"{name} has {item!r}: ids are integers")
        found.append(int(one))
    return found


def is_scalar(value: Any) -> bool:
    """Whether it is one number, if not of the right kind: Python's, NumPy's or torch's."""
    return isinstance(plain_value(value), Number)


def _has_list(value: Any) -> bool:
    """Whether it is an array, a tensor or a NumPy scalar; a view of bytes is not."""
    return hasattr(value, "tolist") and not isinstance(value, memoryview)


def field_value(field: Field[Any], hint: Any, value: Any) -> Any:
    """A value for a dataclass's field, whose metadata has its range, as Python's own number.

    Raises:
        TypeError: It is of another type than `hint`; the message names the field.
        ValueError: It is out of range, or not among the choices.
    """
    said = f"{field.name}={value!r}: it must be"
    value = plain_value(value)
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            *most, last = (f'"{choice}"' for choice in get_args(hint))
            raise ValueError(f"{said} {', '.join(most)} or {last}")
        return str(value)
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return value
    kind = kinds[0]
    allowed = {int: Integral, float: Real}.get(kind, kind)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{said} {_NAMES.get(kind, 'a number')}")
    try:
        value = kind(value)
    except OverflowError:
        raise ValueError(f"{said} within the range of a float") from None
    least, above, most = (field.metadata[name] for name in ("least", "above", "most"))
    if above is not None and not (math.isfinite(value) and value > above):
        raise ValueError(f"{said} finite and above {above}")
    if least is not None and not value >= least:
        raise ValueError(f"{said} at least {least}")
    if most is not None and not value <= most:
        raise ValueError(f"{said} at most {most}")
    return value


def check_range(ids: Tensor, vocab_size: int, name: str, remedy: str) -> None:
    """ValueError if an id is not from 0 up to `vocab_size`, where that can be seen at once.

    An accelerator would have to be waited for, and what is compiled or vectorized has no values
    yet: there nothing is checked, and it is up to the operation that looks them up.

    Args:
        ids: Integers of any shape.
        vocab_size: V.
        name: What one of them is called.
        remedy: How the message ends.
    """
    if (
        torch.compiler.is_compiling()
        or ids.device.type != "cpu"
        or not ids.numel()
        or type(ids) is not Tensor
        or watched()
        or torch._C._functorch.is_functorch_wrapped_tensor(ids)
    ):
        return
    low, high = (int(end) for end in ids.aminmax())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"{name} {low if low < 0 else high} is not in the vocabulary: ids run from 0 to "
            f"{vocab_size - 1}; {remedy}"
        )
