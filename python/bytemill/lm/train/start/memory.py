"""How many rows fit into memory at a time."""

from __future__ import annotations

from typing import Final

import torch

from bytemill.lm.model.cost.accounting import largest_batch
from bytemill.lm.train.plan import Plan
from bytemill.lm.train.steps.accumulate import default_rows

_CPU_TOKENS: Final = 8192
_CPU_FLOPS: Final = 2e11
"""Of a micro-batch, so that one takes a few seconds at most: the run tells of each."""


def rows_that_fit(
    plan: Plan, device: torch.device, dtype: torch.dtype, n_processes: int = 1
) -> int:
    """Rows of a process's part of a plan's batch that fit into a device's memory at a time."""
    length = plan.model.context_length
    by_flops = int(_CPU_FLOPS / (plan.flops_per_token * length))
    most = min(_CPU_TOKENS // length, by_flops)
    if device.type == "cuda":
        most = largest_batch(
            plan.model,
            torch.cuda.get_device_properties(device).total_memory,
            optimizer=plan.optimizer.kind,
            dtype="float32" if dtype == torch.float32 else "bfloat16",
        )
    return default_rows(-(-plan.batch_size // n_processes), max(most, 1))
