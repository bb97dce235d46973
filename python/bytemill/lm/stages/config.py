"""The configurations of the stages: what they share, and those of mid-training and SFT."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bytemill.lm.optim.config import OptimConfig
from bytemill.lm.optim.schedule import ScheduleConfig
from bytemill.lm.settings import AUTO, check, option
from bytemill.lm.stages.mixture import placed_tasks
from bytemill.lm.stages.replay import placed_replay
from bytemill.lm.train.config import RunConfig, RunTree

if TYPE_CHECKING:
    from typing_extensions import Self

_AUTO = Literal["auto"]

NOT_OF_A_STAGE = (
    "optimizer",
    "recipe",
    "lr_width_scaling",
    "lr_batch_scaling",
    "lr_batch_least",
    "decay_scaling",
    "tokens_per_parameter",
    "flops",
)
"""Flags of pretraining that stages have not: what is not given of the optimizer is as the base run
had it, which has been scaled, and the horizon is counted in epochs or steps."""


@dataclass(frozen=True)
class StageSchedule(ScheduleConfig):
    """How long a stage trains, on how much at a time, and how its learning rates change.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    steps: int | None = option(
        None, least=1, help="optimizer steps, the horizon", derived="by --epochs"
    )
    epochs: float | None = option(
        None,
        above=0,
        help="the horizon where steps are not given: how often all conversations are gone through",
        derived="1",
    )
    batch_size: int | None = option(
        None,
        least=1,
        help="rows in an optimizer step, B",
        derived="2^19 tokens, SFT of the recipe first: 32 rows; a 64th of the horizon at most",
    )
    lr_factor: float | None = option(
        None,
        above=0,
        help="what the learning rates of the base run are multiplied by; rates that are given are "
        "used as they are",
        derived="mid-training: 1, SFT: 0.02, nanochat-2026: 0.8",
    )
    warmup_steps: int | None = option(None, least=0, help="steps of linear warm-up", derived="0")
    final_fraction: float | None = option(
        None,
        least=0,
        most=1,
        help="the share of the learning rates that is left at the end",
        derived="0",
    )
    decay_fraction: float | None = option(
        None,
        least=0,
        most=1,
        help="the share of the steps in which the linear schedule decays",
        derived="mid-training: 0.2, SFT: 1, nanochat-2026: 0.5",
    )
    momentum_start: float | _AUTO | None = option(  # noqa: RUF009
        AUTO,
        least=0,
        below=1,
        help='Muon\'s momentum at the first step, from which it goes to its value; "none" has it '
        "there from the start",
        derived="none",
    )
    momentum_end: float | _AUTO | None = option(  # noqa: RUF009
        AUTO,
        least=0,
        below=1,
        help="Muon's momentum at the end, to which it goes while the linear schedule decays; "
        '"none" leaves it',
        derived="none",
    )
    decay_schedule: Literal["constant", "cosine", "auto"] = option(
        AUTO,
        help="of the matrices' weight decay: constant, or half a cosine down to 0 at the end",
        derived="constant",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tokens_per_parameter", "flops"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}={getattr(self, name)}: a stage's horizon is given by epochs or steps"
                )


@dataclass(frozen=True, kw_only=True)
class StageRun(RunConfig):
    """Where a stage goes, what it begins with, and what it tells of itself.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    init_from: str = option(
        decides=False,
        help="a run's folder (its best checkpoint) or a checkpoint's, with whose model and "
        "tokenizer the stage begins",
    )
    init_optimizer: bool | None = option(
        None,
        decides=False,
        help="begin with the optimizer's state of --init-from, too",
        derived="nanochat-2026: where it has one, first: no",
    )
    lora_rank: int | None = option(
        None,
        least=1,
        help="train low-rank adapters with so many rows (LoRA, Hu et al. 2021) and leave the "
        "model's own weights as they are; AdamW trains them, at --matrix-lr",
        derived="all weights are trained",
    )
    lora_alpha: float | None = option(
        None,
        above=0,
        help="adapters are added to the weights this over their rank times",
        derived="twice the rank",
    )
    lora_targets: str | None = option(
        None,
        help="the layers' matrices that get adapters, with commas between: q_proj, k_proj, v_proj, "
        "output_proj, w1, w2, w3",
        derived="all of them",
    )
    preset: Literal["auto", "first", "nanochat-2026"] = option(
        AUTO,
        help="the recipe, which gives what is not given: tasks, rows, rates, schedule; nanochat's "
        "as first published, or as of 2026",
        derived="nanochat-2026 if the base run was trained by it, else first",
    )
    eval_every: int = option(
        100, least=0, decides=False, help="steps between validations; 0: at the end only"
    )
    sample_prompt: str = option(
        "Who are you?", decides=False, help="what samples are asked, as a user"
    )


@dataclass(frozen=True, kw_only=True)
class MidRun(StageRun):
    """The same for mid-training."""

    eval_every: int = option(
        150, least=0, decides=False, help="steps between validations; 0: at the end only"
    )


@dataclass(frozen=True)
class StageData:
    """What a stage trains on: conversations, and what is mixed in.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    path: str = option(
        "data",
        flag="data",
        decides=False,
        help="a folder with the published data sets, each in a folder of its repository's name: "
        "smol-smoltalk, mmlu, gsm8k, ai2_arc",
    )
    tasks: str | None = option(
        None,
        help="what to train on: names of tasks and files of JSON lines of conversations, with "
        'slices and repeats, "smoltalk[:10000]; gsm8k*4; own.jsonl", or with weights, '
        '"0.5=spelling; 0.5=arithmetic"; a hundredth is kept for validation',
        derived="the preset's",
    )
    words: str | None = option(
        None,
        decides=False,
        help="text, as tok-train reads it, whose words are spelled and counted in, of its first 10 "
        "million characters",
        derived="the tokenizer's own words",
    )
    skip_bad: bool = option(
        False, help="pass over lines of files that are not conversations, and say how many"
    )
    replay: str | None = option(
        None,
        help="rows of other data, each with its share of all rows: the folder of an earlier run, "
        "whose data is taken, or tokens or text as for train, "
        '"0.1=runs/base; 0.05=shards"',
        derived="none",
    )
    rows: Literal["auto", "single", "best-fit", "stream"] = option(
        AUTO,
        help="rows hold one conversation each, or those that fit best, and are padded; or they are "
        "cut from one stream of all",
        derived="mid-training: stream, SFT: single, nanochat-2026: best-fit",
    )
    mask: bool | None = option(
        None,
        help="train on what the assistant writes only, not on what it is given",
        derived="mid-training: false, SFT: true",
    )
    context_length: int | None = option(
        None, least=2, help="tokens in a row, T", derived="the model's"
    )
    ask_every: int = option(
        200,
        least=0,
        decides=False,
        help="steps between which held-out items of the tasks are asked, with a validation; 0: "
        "never",
    )
    ask_items: int = option(
        64,
        least=1,
        decides=False,
        help="items of a task that are asked; of one with choices 16 times as many",
    )

    def __post_init__(self) -> None:
        check(self)


class StageTree(RunTree):
    """A tree of settings with the parts that every stage has."""

    STAGE: ClassVar[str]
    """Which stage it is: "mid" or "sft", for instance."""
    PLACED: ClassVar[tuple[str, ...]] = ("data", "words", "init_from")
    """The fields that are paths."""

    if TYPE_CHECKING:

        @property
        def schedule(self) -> StageSchedule:
            """How long, and on how much at a time."""
            ...

        @property
        def run(self) -> StageRun:
            """Where the run goes, and what it begins with."""
            ...

    def placed(self) -> Self:
        """The same with whole paths to what is read, which stay right in another working folder."""
        paths = {
            name: str(Path(path).absolute())
            for name in self.PLACED
            if (path := self.flat()[name]) is not None
        }
        return self.but(**paths)


class SupervisedConfig(StageTree):
    """A stage on conversations."""

    if TYPE_CHECKING:

        @property
        def data(self) -> StageData:
            """What it trains on."""
            ...

    def placed(self) -> Self:
        """As of every stage; its tasks and what it replays may be files, too."""
        tasks, replay = self.data.tasks, self.data.replay
        return (
            super()
            .placed()
            .but(
                tasks=None if tasks is None else placed_tasks(tasks),
                replay=None if replay is None else placed_replay(replay),
            )
        )


@dataclass(frozen=True, kw_only=True)
class MidConfig(SupervisedConfig):
    """All that decides mid-training.

    Raises:
        TypeError: A part is of another type.
    """

    FORMAT: ClassVar[str] = "bytemill-mid-train-config"
    VERSION: ClassVar[int] = 1
    STAGE: ClassVar[str] = "mid"

    data: StageData = field(default_factory=StageData)
    optimizer: OptimConfig = field(default_factory=OptimConfig)
    schedule: StageSchedule = field(default_factory=StageSchedule)
    run: MidRun


@dataclass(frozen=True, kw_only=True)
class SftConfig(SupervisedConfig):
    """All that decides supervised fine-tuning.

    Raises:
        TypeError: A part is of another type.
    """

    FORMAT: ClassVar[str] = "bytemill-sft-config"
    VERSION: ClassVar[int] = 1
    STAGE: ClassVar[str] = "sft"

    data: StageData = field(default_factory=StageData)
    optimizer: OptimConfig = field(default_factory=OptimConfig)
    schedule: StageSchedule = field(default_factory=StageSchedule)
    run: StageRun
