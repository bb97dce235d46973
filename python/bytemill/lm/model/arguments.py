"""Arguments as Python's own numbers, and ids that are in the vocabulary.

NumPy's and torch's scalars are what they say; a bool, a str and what rounds are not numbers or ids.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from numbers import Integral, Number, Real
from typing import Any, Final

import torch
from torch import Tensor

from bytemill.lm.model.kernels import watched

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
