"""What the processes of a run must have in common, so that they train the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

import bytemill
from bytemill.lm.checkpoint.state import sha256
from bytemill.lm.checkpoint.store import STATE_NAME
from bytemill.lm.train.config import RunTree

_OWN: Final = ("data", "val_data", "tokenizer", "out", "device", "threads", "wandb", "tensorboard")
"""Options that may differ: where things are on a node, and what only the leading rank does."""


def facts_of(
    config: RunTree,
    contents: Mapping[str, Any],
    checkpoint: Path | None,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """By name: options, what is in the data and tokenizer, where the run goes on, versions."""
    return {
        **{name: value for name, value in config.flat().items() if name not in _OWN},
        **contents,
        "checkpoint": None if checkpoint is None else sha256(checkpoint / STATE_NAME),
        "device": device.type,
        "dtype": str(dtype),
        "bytemill": bytemill.__version__,
        "torch": torch.__version__,
    }
