"""Names for the choices that arguments offer."""

from typing import Literal, TypeAlias

TieBreak: TypeAlias = Literal["lexicographic", "lowest_id", "huggingface"]
"""Of several pairs with the highest count, which is merged first."""
