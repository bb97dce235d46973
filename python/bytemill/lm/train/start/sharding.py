"""What goes with `shard="fsdp"`, where no process has all of the weights."""

from __future__ import annotations

import torch

from bytemill.lm.device import runtime
from bytemill.lm.train.config import RunConfig


def wants_compile(run: RunConfig, device: torch.device, n_processes: int) -> bool:
    """Whether the loss is compiled; ValueError as `check_shard`."""
    check_shard(run, n_processes)
    is_whole = run.shard == "zero2" or n_processes == 1
    return is_whole and runtime.wants_compile(run.compile, device)


def check_shard(run: RunConfig, n_processes: int) -> None:
    """Raises ValueError for settings that need all weights in one process, or were never tried
    with slices of them. One process has all of them, whatever `shard` is."""
    if run.shard == "zero2" or n_processes == 1:
        return
    wrong = {
        "ema": run.ema is not None and "leave the average out",
        "fp8": run.fp8 and "leave it out",
        "sample_every": run.sample_every > 0 and "use 0, and bytemill generate on a checkpoint",
        "compile": run.compile == "on" and 'use "auto", which does not compile here, or "off"',
    }
    for name, remedy in wrong.items():
        if remedy:
            raise ValueError(
                f'{name}={getattr(run, name)!r}: it does not go with shard="fsdp", with which no '
                f'process has all weights; {remedy}, or use shard="zero2"'
            )
