"""Where a run is, beside weights and optimizers: what a checkpoint keeps for the run to go on."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.train.config import TrainConfig

# What a run that goes on may have otherwise: where things are, what they are computed on, and how
# often the run tells of itself. All else decides the weights.
MAY_CHANGE: Final = frozenset(
    {
        "data", "out", "val_data", "tokenizer", "micro_batch_size", "device", "compile", "threads",
        "log_every", "eval_every", "eval_batches", "sample_every", "sample_tokens",
        "sample_prompt", "checkpoint_every", "keep_last", "wandb", "tensorboard",
    }
)  # fmt: skip


@dataclass(frozen=True)
class SavedRun:
    """The trainer's own state."""

    loader: dict[str, Any]
    """The loader's `state_dict()`."""
    micro_batch_size: int
    """Rows at a time, which may have been halved. It decides how sums are rounded."""
    window: list[float]
    """Sum and number of the losses since the last line of metrics."""
    best_val_loss: float
    """The lowest; infinity before the first validation."""

    def to_dict(self, config: TrainConfig) -> dict[str, Any]:
        """As JSON data, with the run's configuration."""
        best = None if math.isinf(self.best_val_loss) else self.best_val_loss
        fields = {**dataclasses.asdict(self), "best_val_loss": best}
        return {"config": config.to_dict(), **fields}

    @classmethod
    def read(cls, checkpoint: Checkpoint, config: TrainConfig) -> SavedRun:
        """What `to_dict` made, if a run of this configuration can go on from it.

        Raises:
            ValueError: The checkpoint is of something else, or a field that decides the weights has
                changed; the message names it.
        """
        extra = checkpoint.extra
        try:
            before = TrainConfig.from_dict(extra["config"], str(checkpoint.path))
            best = extra["best_val_loss"]
            saved = cls(
                loader=dict(extra["loader"]),
                micro_batch_size=int(extra["micro_batch_size"]),
                window=[float(number) for number in extra["window"]],
                best_val_loss=math.inf if best is None else float(best),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{checkpoint.path}: it is no checkpoint that a training run can go on from "
                f"({error})"
            ) from None
        for field in dataclasses.fields(TrainConfig):
            old, new = getattr(before, field.name), getattr(config, field.name)
            if old != new and field.name not in MAY_CHANGE:
                raise ValueError(
                    f"{field.name} was {old!r} when the run of {checkpoint.path} was begun and is "
                    f"{new!r} now; leave it as it was, or begin a new run in another folder"
                )
        return saved
