"""`DpoConfig`: all that decides a run of direct preference optimization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bytemill.lm.optim.config import OptimConfig
from bytemill.lm.settings import check, option
from bytemill.lm.stages.config import StageRun, StageSchedule, StageTree

NOT_OF_DPO = ("document_mask", "eval_tokens")
"""Flags of other stages: a row is one answer, and all pairs that are kept back are tried."""


@dataclass(frozen=True)
class DpoData:
    """What is preferred to what.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    pairs: str = option(
        help='files, folders or globs of JSON lines, {"prompt": ..., "chosen": ..., "rejected": '
        "...}; a hundredth of the pairs is kept for validation",
    )
    beta: float = option(
        0.1,
        above=0,
        help="how much the weights at the beginning hold: differences of log-probabilities, in "
        "nats, are taken this many times (Rafailov et al. 2023, equation 7)",
    )
    skip_bad: bool = option(False, help="pass over lines that are not pairs, and say how many")
    context_length: int | None = option(
        None, least=2, help="the most tokens of prompt and answer, T", derived="the model's"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class DpoSchedule(StageSchedule):
    """How long, and how the learning rates change.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    epochs: float | None = option(
        None,
        above=0,
        help="the horizon where steps are not given: how often all pairs are gone through",
        derived="1",
    )
    batch_size: int | None = option(
        None,
        least=1,
        help="rows in an optimizer step, pairs",
        derived="32; a 64th of the horizon at most",
    )
    lr_factor: float | None = option(
        None,
        above=0,
        help="what the learning rates of the base run, or with adapters AdamW's, are multiplied "
        "by; rates that are given are used as they are",
        derived="0.002, with adapters 0.1",
    )
    decay_fraction: float | None = option(
        None,
        least=0,
        most=1,
        help="the share of the steps in which the linear schedule decays",
        derived="1",
    )


@dataclass(frozen=True, kw_only=True)
class DpoRun(StageRun):
    """Where the run goes, what it begins with, and what it tells of itself.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.document_mask:
            raise ValueError("document_mask=True: a row is one answer, and needs no mask")


@dataclass(frozen=True, kw_only=True)
class DpoConfig(StageTree):
    """All that decides a run of direct preference optimization.

    Raises:
        TypeError: A part is of another type.
    """

    FORMAT: ClassVar[str] = "bytemill-dpo-config"
    VERSION: ClassVar[int] = 1
    STAGE: ClassVar[str] = "dpo"
    PLACED: ClassVar[tuple[str, ...]] = ("pairs", "init_from")

    data: DpoData
    optimizer: OptimConfig = field(default_factory=OptimConfig)
    schedule: DpoSchedule = field(default_factory=DpoSchedule)
    run: DpoRun
