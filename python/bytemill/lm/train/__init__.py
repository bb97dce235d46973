"""A training run: its configuration, its plan, its loop, and what it tells."""

from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.fit import fit
from bytemill.lm.train.loop import NonFiniteLossError
from bytemill.lm.train.pretrain import Result, Trainer

__all__ = ["NonFiniteLossError", "Result", "TrainConfig", "Trainer", "fit"]
