"""`TrainConfig`: every choice of a training run, typed, checked, and kept as JSON with the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bytemill.lm.batches.stream.corpus import placed
from bytemill.lm.device.threads import MOST_THREADS
from bytemill.lm.optim.groups import OptimConfig
from bytemill.lm.optim.schedule import ScheduleConfig
from bytemill.lm.settings import check, option
from bytemill.lm.settings_tree import Tree
from bytemill.lm.train.model_settings import ModelSettings

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class DataConfig:
    """What is read in pretraining.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    path: str = option(
        flag="data",
        decides=False,
        help="a folder of token shards, or a flat .npy or .bin file of token ids; or text, which "
        "is encoded on the way: a folder, a file or a glob of .parquet, .jsonl or .txt, also .gz "
        "or .zst; or several with weights, their shares of the rows: "
        '"0.7=web/*.parquet; 0.3=books"',
    )
    val_path: str | None = option(
        None,
        flag="val_data",
        decides=False,
        help="shards, .npy, .bin or text for validation",
        derived="the validation split of the data, or the file that a download pinned",
    )
    tokenizer: str | None = option(
        None,
        decides=False,
        help="a folder that tok-train has written, a published tokenizer.json or a folder with "
        "one, a .tiktoken file, or the name of an encoding of tiktoken; text, bits per byte and "
        "samples need it, and the shards are checked against it",
        derived="none",
    )
    loader: Literal["auto", "windows", "documents", "best-fit"] = option(
        "auto",
        help="rows are random windows of the tokens, or begin as documents do, with one token: "
        "these go on in the next row, or (text only) rows take those that fit best, and crop",
        derived="windows; documents of text",
    )
    bos: str | None = option(
        None,
        help="the special token that begins documents, for --loader documents",
        derived="<|bos|>, <|endoftext|>, or the first",
    )
    text_column: str = option("text", help="where the text is, in .jsonl (the key) and .parquet")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RunConfig:
    """Where a run goes, what it computes on, and what it tells of itself, whatever it trains on.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    out: str = option(
        decides=False, help="the run's folder: configuration, metrics, plot, checkpoints"
    )
    seed: int = option(
        0, least=0, most=2**63 - 1, help="of the weights, the batches and the samples"
    )
    init_from: str | None = option(
        None,
        decides=False,
        help="a run's folder (its best checkpoint) or a checkpoint's, whose weights the first step "
        "begins with; a run that goes on has its own",
        derived="new weights",
    )
    init_optimizer: bool | None = option(
        None,
        decides=False,
        help="begin with the optimizer's state of --init-from, too",
        derived="false",
    )
    device: str = option("auto", decides=False, help='"auto", "cpu", "cuda", "cuda:N" or "mps"')
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto", help="of the matrix products; weights are float32"
    )
    fp8: bool = option(
        False,
        help="multiply the layers' matrices in 8 bits in training; needs an NVIDIA GPU of compute "
        "capability 9.0 (Hopper)",
    )
    shard: Literal["zero2", "fsdp"] = option(
        "zero2",
        decides=False,
        help="what several processes share out: gradients and the optimizer's states, or with fsdp "
        "(FSDP2) the weights, too, for models that do not fit",
    )
    compile: Literal["auto", "on", "off"] = option(
        "auto", decides=False, help="torch.compile; auto: on CUDA"
    )
    threads: int | None = option(
        None,
        least=1,
        most=MOST_THREADS,
        decides=False,
        help="CPU threads",
        derived="torch's choice, one a core",
    )
    peak_flops: float | None = option(
        None,
        above=0,
        decides=False,
        help="FLOP/s that the device reaches at most in this dtype, of which MFU is a share",
        derived="that of a known GPU in bfloat16; else no MFU is shown",
    )
    micro_batch_size: int | None = option(
        None,
        least=1,
        decides=False,
        help="rows that are computed at a time; it changes memory and speed, not the result, and "
        "is halved when memory runs out",
        derived="what fits; on a CPU 8,192 tokens, or fewer of a large model",
    )
    ema: float | None = option(
        None,
        least=0,
        below=1,
        help="decay of the weights' moving average, such as 0.999: it is validated, writes the "
        "samples, and is what evaluation and generation load",
        derived="no average",
    )
    document_mask: bool = option(
        False, help="attention within documents only, in training and its validations"
    )
    recompute: bool = option(
        False,
        decides=False,
        help="activation checkpointing: keep only the layers' inputs, and compute the rest again "
        "for the gradients; the same result with less memory, in more time",
    )
    log_every: int = option(10, least=1, decides=False, help="steps between lines in metrics.jsonl")
    eval_every: int = option(
        250, least=0, decides=False, help="steps between validations; 0: at the end only"
    )
    eval_tokens: int = option(
        1 << 17,
        least=1,
        decides=False,
        help="tokens of a validation: the same ones each time, whatever the batch; in whole rows",
    )
    sample_every: int = option(0, least=0, decides=False, help="steps between samples; 0: none")
    sample_tokens: int = option(64, least=1, decides=False, help="tokens in a sample")
    sample_prompt: str = option("", decides=False, help="what samples begin with")
    checkpoint_every: int = option(
        250, least=0, decides=False, help="steps between checkpoints; 0: at the end only"
    )
    keep_last: int = option(2, least=1, decides=False, help="checkpoints to keep, besides the best")
    wandb: str | None = option(
        None, decides=False, help="log to this project of Weights & Biases, too", derived="none"
    )
    tensorboard: bool = option(False, decides=False, help="log to RUN/tensorboard, too")

    def __post_init__(self) -> None:
        check(self)


class RunTree(Tree):
    """A tree of settings with the parts that every run has."""

    if TYPE_CHECKING:

        @property
        def optimizer(self) -> OptimConfig:
            """How to change the weights."""
            ...

        @property
        def schedule(self) -> ScheduleConfig:
            """How long, and on how much at a time."""
            ...

        @property
        def run(self) -> RunConfig:
            """Where the run goes."""
            ...

    def placed(self) -> Self:
        """The same with whole paths to what is read, which stay right in another working folder."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunTree):
    """All that decides a pretraining run, in five parts; `of` takes their fields side by side.

    The parts stand alone: what trains on other data has a `data` of its own and the others as they
    are. What is left open is settled by `bytemill.lm.train.plan.plan`.

    Raises:
        TypeError: A part is of another type.
    """

    FORMAT: ClassVar[str] = "bytemill-train-config"
    VERSION: ClassVar[int] = 1

    model: ModelSettings = field(default_factory=ModelSettings)
    optimizer: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    data: DataConfig
    run: RunConfig

    def placed(self) -> TrainConfig:
        """The same with whole paths to what is read, which stay right in another working folder."""
        paths = {
            name: str(Path(path).absolute())
            for name in ("val_data", "tokenizer", "init_from")
            if (path := self.flat()[name]) is not None
            # A tokenizer may be an encoding of tiktoken.
            and (name != "tokenizer" or Path(path).exists())
        }
        return self.but(data=placed(self.data.path), **paths)
