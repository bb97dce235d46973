"""What goes with `shard="fsdp"`, where no process has all of the weights."""

from __future__ import annotations

from bytemill.lm.train.config import RunConfig


def check_shard(run: RunConfig, n_processes: int, can_share_weights: bool) -> bool:
    """Whether each process has all weights, as one alone has whatever `shard` is.

    Raises:
        ValueError: It has not, and a setting needs them, or was never tried with slices of them;
            or a run of this kind does (`can_share_weights`).
    """
    if run.shard == "zero2" or n_processes == 1:
        return True
    if not can_share_weights:
        raise ValueError(
            'shard="fsdp": it is for pretraining (bytemill train); a stage after it also writes, '
            'asks or adapts, for which each process needs all weights: use "zero2"'
        )
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
    return False
