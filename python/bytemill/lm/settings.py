"""Fields of settings that say their meaning, range and unit in one place."""

from __future__ import annotations

import dataclasses
from typing import Any


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Any:
    """A dataclass field with its help text and range, which flags, files and messages share.

    Args:
        default: Its value where none is given; without one the field must be given.
        help: What it is, with its unit: the flag's help and the field's documentation.
        least, above, most: The range of a number, in which `above` is not included.
    """
    return dataclasses.field(
        default=default,
        metadata={"help": help, "least": least, "above": above, "most": most},
    )
