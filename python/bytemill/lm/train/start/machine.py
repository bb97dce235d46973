"""What a run computes on: its name, its peak, and the dtype that suits it."""

from __future__ import annotations

import torch

from bytemill.lm.device import runtime
from bytemill.lm.train.steps.world import World


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
