"""`RlConfig`: all that decides a run of reinforcement learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bytemill.lm.optim.config import OptimConfig
from bytemill.lm.settings import check, option
from bytemill.lm.stages.config import StageRun, StageSchedule, StageTree
from bytemill.lm.stages.mixture import placed_tasks
from bytemill.lm.stages.rl.settings import RlSettings

if TYPE_CHECKING:
    from typing_extensions import Self

NOT_OF_RL = ("batch_size", "document_mask", "eval_tokens")
"""Flags of other stages: a batch is questions times samples, and each row is one reply."""


@dataclass(frozen=True)
class RlData:
    """What is asked, and what is replayed.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    path: str = option(
        "data",
        flag="data",
        decides=False,
        help="a folder with the published data sets, each in a folder of its repository's name: "
        "gsm8k, ai2_arc, mmlu",
    )
    tasks: str = option(
        "gsm8k",
        help='what is asked: names of tasks with a judge, with slices and repeats, "gsm8k; '
        'arc-easy[:1000]", or with weights, "0.7=arithmetic-3; 0.3=spelling"; a hundredth is kept '
        "for validation",
    )
    words: str | None = option(
        None,
        decides=False,
        help="a text whose words are spelled and counted in",
        derived="the tokenizer's own words",
    )
    replay: str | None = option(
        None,
        help="what is replayed: the folder of a run of sft, or tasks and files as of its --tasks",
        derived="--init-from's data, if that is a run of sft",
    )
    eval_problems: int = option(
        400, least=1, decides=False, help="questions of a validation, which are not trained on"
    )
    eval_samples: int = option(
        8,
        least=2,
        most=1000,
        decides=False,
        help="replies to each of them; pass@k is told up to this k",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RlSchedule(StageSchedule):
    """How long, and how the learning rates change.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    epochs: float | None = option(
        None,
        above=0,
        help="the horizon where steps are not given: how often all questions are asked",
        derived="1",
    )
    lr_factor: float | None = option(
        None,
        above=0,
        help="what the learning rates of the base run are multiplied by; rates that are given are "
        "used as they are",
        derived="0.05",
    )
    decay_fraction: float | None = option(
        None,
        least=0,
        most=1,
        help="the share of the steps in which the linear schedule decays",
        derived="1",
    )


@dataclass(frozen=True, kw_only=True)
class RlRun(StageRun):
    """Where the run goes, what it begins with, and what it tells of itself.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    log_every: int = option(1, least=1, decides=False, help="steps between lines in metrics.jsonl")
    eval_every: int = option(
        60, least=0, decides=False, help="steps between validations; 0: at the end only"
    )
    checkpoint_every: int = option(
        60, least=0, decides=False, help="steps between checkpoints; 0: at the end only"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.document_mask:
            raise ValueError("document_mask=True: a row is one reply, and needs no mask")


@dataclass(frozen=True, kw_only=True)
class RlConfig(StageTree):
    """All that decides a run of reinforcement learning.

    Raises:
        TypeError: A part is of another type.
    """

    FORMAT: ClassVar[str] = "bytemill-rl-config"
    VERSION: ClassVar[int] = 1
    STAGE: ClassVar[str] = "rl"

    data: RlData = field(default_factory=RlData)
    rollouts: RlSettings = field(default_factory=RlSettings)
    optimizer: OptimConfig = field(default_factory=OptimConfig)
    schedule: RlSchedule = field(default_factory=RlSchedule)
    run: RlRun

    def placed(self) -> Self:
        """The same with whole paths to what is read, which stay right in another working folder."""
        replay = self.data.replay
        if replay is not None:
            is_run = Path(replay).is_dir()
            replay = str(Path(replay).absolute()) if is_run else placed_tasks(replay)
        return super().placed().but(tasks=placed_tasks(self.data.tasks), replay=replay)
