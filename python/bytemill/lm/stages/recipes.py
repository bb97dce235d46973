"""What each stage does where nothing is said: nanochat's recipes, the first and that of 2026."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bytemill.lm.stages.rows import Packing

Preset = Literal["first", "nanochat-2026"]


@dataclass(frozen=True)
class Recipe:
    """The defaults of a stage."""

    tasks: str
    """As `bytemill.lm.stages.mixture.mixture` reads them."""
    rows: Packing
    mask: bool
    """Whether only what the assistant writes is learnt."""
    lr_factor: float
    """Of the base run's learning rates."""
    decay_fraction: float
    """The share of the steps in which they go down to 0."""
    init_optimizer: bool
    """Whether it goes on with the base run's optimizer state."""
    tokens_per_step: int | None = None
    rows_per_step: int | None = None
    """One of the two is given."""

    def batch_size(self, context_length: int) -> int:
        """Rows in a step."""
        return self.rows_per_step or max(1, (self.tokens_per_step or 0) // context_length)


RECIPES: Final[dict[tuple[str, Preset], Recipe]] = {
    ("mid", "first"): Recipe(
        tasks="smoltalk; mmlu; gsm8k",
        rows="stream",
        mask=False,
        lr_factor=1.0,
        decay_fraction=0.2,
        init_optimizer=False,
        tokens_per_step=1 << 19,
    ),
    ("sft", "first"): Recipe(
        tasks="arc-easy; arc-challenge; gsm8k; smoltalk[:10000]",
        rows="single",
        mask=True,
        lr_factor=0.02,
        decay_fraction=1.0,
        init_optimizer=False,
        rows_per_step=32,
    ),
    ("sft", "nanochat-2026"): Recipe(
        tasks="smoltalk; mmlu*3; gsm8k*4",
        rows="best-fit",
        mask=True,
        lr_factor=0.8,
        decay_fraction=0.5,
        init_optimizer=True,
        tokens_per_step=1 << 19,
    ),
}
"""By stage and preset. In 2026 there is no mid-training."""


def recipe_of(stage: str, preset: str, base: str) -> Recipe:
    """The recipe of a stage.

    Args:
        stage: "mid" or "sft".
        preset: Which one, or "auto".
        base: The optimizer's recipe of the base run: "gpt" or "nanochat-2026".

    Raises:
        ValueError: The preset has no such stage.
    """
    chosen: Preset = "nanochat-2026" if preset == "nanochat-2026" else "first"
    if preset == "auto" and base == "nanochat-2026" and (stage, base) in RECIPES:
        chosen = "nanochat-2026"
    if (stage, chosen) not in RECIPES:
        raise ValueError(
            f"preset={preset!r}: the recipe of 2026 has no {stage}-training: its SFT follows the "
            'base model; leave this stage out, or give preset="first"'
        )
    return RECIPES[stage, chosen]
