"""What a checkpoint costs a run that saves every 50 steps.

    python -m benchmarks.saving

Steps of a model of 4 layers x 256 (8 rows of 256 tokens, vocabulary 8,192, Muon, fp32) and saves of
it are measured one after the other, in processor time, which other programs change little: that of
the thread that trains, which waits for its part of a save, and that of all threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.checkpoint.background import Writer
from bytemill.lm.checkpoint.state import take_snapshot
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.optim.groups import OptimConfig, build_optimizers

EVERY = 50
"""Steps between two saves."""


class Cost(NamedTuple):
    """Of one save, in seconds."""

    in_step: float
    """Processor time of the thread that trains."""
    in_all: float
    """Processor time of all threads."""
    until_written: float
    """On the clock, from the beginning until it is on disk."""


def measure(layers: int, width: int, steps: int, saves: int) -> tuple[float, list[Cost], int]:
    """Processor time of a step (median), the costs of each save, and the bytes of one."""
    torch.manual_seed(0)
    config = ModelConfig.preset(
        "gpt", vocab_size=8192, context_length=256, d_model=width, n_layer=layers, n_head=4
    )
    model = Transformer(config)
    optimizers = build_optimizers(model, OptimConfig())
    ids = torch.randint(8192, (8, 256))
    each = []
    for _ in range(steps + 1):
        began = time.process_time()
        model.zero_grad()
        model.loss(ids, ids).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        each.append(time.process_time() - began)
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(CheckpointStore(Path(folder)))
        for number in range(1, saves + 1):
            clock, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
            snapshot = take_snapshot(model, optimizers)
            path = writer.write(number, snapshot, model_config=config.to_dict())
            in_step = time.thread_time() - thread
            size = sum(file.stat().st_size for file in path.result().iterdir())
            in_all = time.process_time() - process
            costs.append(Cost(in_step, in_all, time.perf_counter() - clock))
    return statistics.median(each[1:]), costs, size


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4, help="(default: 4)")
    parser.add_argument("--width", type=int, default=256, help="(default: 256)")
    parser.add_argument("--steps", type=int, default=10, help="to measure (default: 10)")
    parser.add_argument("--saves", type=int, default=5, help="to measure (default: 5)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    step, costs, size = measure(args.layers, args.width, args.steps, args.saves)
    print(f"a step: {step:.3f} s of processor time; a checkpoint: {size / 1e6:.0f} MB")
    for name, number in zip(("in the step", "in all threads"), range(2), strict=True):
        all_of = [cost[number] for cost in costs]
        share = statistics.median(all_of) / (EVERY * step)
        spread = f"[{min(all_of):.3f}-{max(all_of):.3f}]"
        print(f"{name}: {statistics.median(all_of):.3f} s {spread}, {share:.2%} of {EVERY} steps")
    print(f"until on disk: {statistics.median(c.until_written for c in costs):.2f} s on the clock")


if __name__ == "__main__":
    main()
