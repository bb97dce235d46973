"""How large the check is: on a GPU, or as a rehearsal on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple


class Shape(NamedTuple):
    """A model's shape, and the rows of a step."""

    name: str
    n_layer: int
    d_model: int
    n_head: int
    vocab_size: int
    context_length: int
    batch_size: int

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.batch_size * self.context_length


@dataclass(frozen=True)
class Sizes:
    """What is run."""

    shapes: tuple[Shape, ...]
    """For speed: the first beside other models, all by ourselves."""
    timed_steps: int
    warmup_steps: int
    learning_steps: int
    """Of Muon and of AdamW, on text."""
    equal_steps: int
    new_tokens: int
    """To decode."""
    decoding_rows: tuple[int, ...]
    memory_rows: int
    """Rows of a batch that does not fit into the memory that is allowed for it."""


FULL: Final = Sizes(
    shapes=(
        Shape("12 x 768", 12, 768, 12, 50_304, 1_024, 64),
        Shape("350M", 20, 1_024, 16, 50_304, 1_024, 48),
        Shape("560M", 20, 1_280, 20, 50_304, 1_024, 32),
    ),
    timed_steps=30,
    warmup_steps=5,
    learning_steps=200,
    equal_steps=50,
    new_tokens=200,
    decoding_rows=(1, 64),
    memory_rows=512,
)
QUICK: Final = Sizes(
    shapes=(Shape("2 x 64", 2, 64, 2, 512, 64, 4),),
    timed_steps=3,
    warmup_steps=1,
    learning_steps=40,
    equal_steps=10,
    new_tokens=16,
    decoding_rows=(1, 4),
    memory_rows=8,
)
