"""What the processes of a run must have in common, so that they train the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

import bytemill
from bytemill.lm.checkpoint.state import sha256
from bytemill.lm.checkpoint.store import STATE_NAME
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.run_data import RunData

_OWN: Final = ("data", "val_data", "tokenizer", "out", "device", "threads", "wandb", "tensorboard")
"""Options that may differ: where things are on a node, and what only the leading rank does."""


def facts_of(
    config: TrainConfig,
    data: RunData,
    checkpoint: Path | None,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """By name: options, the data by what is in it, where the run goes on, versions."""
    return {
        **{name: value for name, value in config.flat().items() if name not in _OWN},
        "data": data.train.content,
        "validation data": data.val.content if data.val else None,
        "tokenizer": data.tokenizer.fingerprint if data.tokenizer else None,
        "checkpoint": None if checkpoint is None else sha256(checkpoint / STATE_NAME),
        "device": device.type,
        "dtype": str(dtype),
        "bytemill": bytemill.__version__,
        "torch": torch.__version__,
    }
