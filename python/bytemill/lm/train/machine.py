"""What a run computes on: its name, its peak, and how many rows fit into its memory."""

from __future__ import annotations

from typing import Final

import torch

from bytemill.lm.device import runtime
from bytemill.lm.model.accounting import largest_batch
from bytemill.lm.train.plan import Plan
from bytemill.lm.train.steps.accumulate import default_rows
from bytemill.lm.train.steps.world import World

_CPU_TOKENS: Final = 8192
_CPU_FLOPS: Final = 2e11
"""Of a micro-batch, so that one takes a few seconds at most: the run tells of each."""


def rows_at_a_time(plan: Plan, device: torch.device, dtype: torch.dtype, n_processes: int) -> int:
    """Rows that fit into a process's memory at a time, of those that are its own."""
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


def settled_dtype(name: str, world: World) -> str:
    """The dtype's name; on several ranks "auto" is what the leading one finds best, as each tries
    it out, and might find otherwise."""
    if name != "auto" or world.device is None:
        return name
    is_fast = world.same(float(runtime.is_fast_at_bf16(world.device)))
    return "bfloat16" if is_fast else "float32"


def peak_flops(device: torch.device, dtype: torch.dtype, n_processes: int) -> float | None:
    """Of the devices of all processes together; None if not known."""
    one = runtime.peak_flops(device, dtype)
    return None if one is None else one * n_processes


def machine(device: torch.device, is_compiled: bool, n_processes: int) -> str:
    """What rounding depends on, besides the dtype, in words."""
    threads = f"{torch.get_num_threads()} threads, " if device.type == "cpu" else ""
    processes = f"{n_processes} processes, " if n_processes > 1 else ""
    compiled = ", compiled" if is_compiled else ""
    name = runtime.device_name(device)
    return f"{name}, {processes}{threads}torch {torch.__version__}{compiled}"
