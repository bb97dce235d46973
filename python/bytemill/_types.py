"""Names for the choices that arguments offer."""

from typing import Literal, TypeAlias

TieBreak: TypeAlias = Literal["lexicographic", "lowest_id", "huggingface"]
"""Of several pairs with the highest count, which is merged first."""

PatternName: TypeAlias = Literal["gpt2", "cl100k", "o200k", "nanochat"]
"""The named split patterns."""
