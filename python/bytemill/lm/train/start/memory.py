"""How many rows fit into memory at a time."""

from __future__ import annotations

from typing import Final

import torch

from bytemill.lm.distributed.costs import rank_costs
from bytemill.lm.distributed.layout import Shard
from bytemill.lm.model.cost.accounting import largest_batch, training_memory
from bytemill.lm.model.cost.activations import ComputeDtype
from bytemill.lm.train.plan import Plan
from bytemill.lm.train.steps.accumulate import default_rows

_CPU_TOKENS: Final = 8192
_CPU_FLOPS: Final = 2e11
"""Of a micro-batch, so that one takes a few seconds at most: the run tells of each."""


def rows_that_fit(
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype,
    n_processes: int = 1,
    shard: Shard = "zero2",
) -> int:
    """Rows of a process's part of a plan's batch that fit into a device's memory at a time."""
    length = plan.model.context_length
    by_flops = int(_CPU_FLOPS / (plan.flops_per_token * length))
    most = min(_CPU_TOKENS // length, by_flops)
    if device.type == "cuda":
        name: ComputeDtype = "float32" if dtype == torch.float32 else "bfloat16"
        memory: float = torch.cuda.get_device_properties(device).total_memory
        if shard == "fsdp":
            memory += _spared(plan, n_processes, name)
        most = largest_batch(plan.model, memory, optimizer=plan.optimizer.kind, dtype=name)
    return default_rows(-(-plan.batch_size // n_processes), max(most, 1))


def _spared(plan: Plan, n_processes: int, dtype: ComputeDtype) -> float:
    """Bytes that sharing weights out spares each process."""
    alone = training_memory(plan.model, batch_size=1, optimizer=plan.optimizer.kind, dtype=dtype)
    each = rank_costs(plan.model, plan.optimizer, n_processes, "fsdp", dtype=dtype)
    return alone.total - each.total
