"""Training speed of two processes of one thread each, beside one process of two threads.

    python -m benchmarks.lm_ranks

Both train the same model on the same batches, from the same seed, on the CPU; the two talk by gloo.
It is checked that their losses agree within 5e-3 (8 Newton-Schulz steps bring rounding up: see
docs/ranks.md), and then told:

    tokens/s              by the clock, which needs a quiet machine
    tokens/s of a core    by the processor time of all processes, which other work disturbs less
    optimizer             bytes of its states in the process that has most

The target is that two ranks reach 0.9 of the tokens/s, with 0.55 of the optimizer's memory each.
The two take turns, `--runs` times each; the medians are compared, with the spread beside them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bytemill.lm.distributed.group import joined
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.train import TrainConfig, Trainer
from bytemill.lm.train.events import Event, Stepped
from bytemill.lm.train.steps.world import Alone

ALIKE = 5e-3
"""How far losses may be apart, which fall by several nats."""
SKIPPED = 2
"""Steps before the first that is timed."""


class Measured(NamedTuple):
    """Of one process."""

    seconds: float
    processor_seconds: float
    optimizer_bytes: int
    losses: list[float]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.lm_ranks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--runs", type=int, default=3)
    add("--ranks", type=int, default=2, help="processes; the one beside them has as many threads")
    add("--steps", type=int, default=20, help="timed steps")
    add("--d-model", type=int, default=256)
    add("--n-layer", type=int, default=4)
    add("--n-head", type=int, default=4)
    add("--vocab-size", type=int, default=8_192)
    add("--context-length", type=int, default=256)
    add("--batch-size", type=int, default=8)
    add("--optimizer", choices=("muon", "adamw"), default="muon")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status is 1 if losses do not agree."""
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "ids.npy"
        random = np.random.default_rng(0)
        np.save(data, random.zipf(1.3, 1 << 20).clip(0, args.vocab_size - 1).astype(np.uint16))
        config = TrainConfig.of(
            data=str(data), out=folder, device="cpu", dtype="float32",
            context_length=args.context_length, vocab_size=args.vocab_size,
            d_model=args.d_model, n_layer=args.n_layer,
            n_head=args.n_head, batch_size=args.batch_size, steps=args.steps + SKIPPED + 1,
            optimizer=args.optimizer, eval_every=0, checkpoint_every=0,
            micro_batch_size=-(-args.batch_size // args.ranks),
        )  # fmt: skip
        found: dict[int, list[list[Measured]]] = {1: [], args.ranks: []}
        for run in range(args.runs):
            for ranks in (1, args.ranks):
                here = config.but(
                    out=f"{folder}/{ranks}-{run}", threads=args.ranks if ranks == 1 else 1
                )
                found[ranks].append(measured(ranks, here))
    return report(args, found)


def report(args: argparse.Namespace, found: dict[int, list[list[Measured]]]) -> int:
    """Prints what was found."""
    tokens = args.steps * args.batch_size * args.context_length
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {tokens:,} tokens a run")
    medians: dict[int, tuple[float, float, int]] = {}
    for ranks, runs in found.items():
        speeds = [tokens / max(m.seconds for m in run) for run in runs]
        of_core = [tokens / sum(m.processor_seconds for m in run) for run in runs]
        most = max(m.optimizer_bytes for m in runs[0])
        medians[ranks] = statistics.median(speeds), statistics.median(of_core), most
        name = f"{ranks} ranks, 1 thread each" if ranks > 1 else f"1 process, {args.ranks} threads"
        print(
            f"{name:<24}  {medians[ranks][0]:,.0f} tokens/s ({min(speeds):,.0f}-{max(speeds):,.0f})"
            f"  {medians[ranks][1]:,.0f} of a core ({min(of_core):,.0f}-{max(of_core):,.0f})"
            f"  optimizer {most / 1e6:.1f} MB"
        )
    one, several = medians[1], medians[args.ranks]
    print(
        f"ratio: tokens/s {several[0] / one[0]:.2f}, of a core {several[1] / one[1]:.2f}, "
        f"optimizer {several[2] / one[2]:.2f}"
    )
    apart = max(
        abs(a - b)
        for a, b in zip(found[1][0][0].losses, found[args.ranks][0][0].losses, strict=True)
    )
    print(f"losses agree within {apart:.1e}")
    return int(apart > ALIKE)


def measured(ranks: int, config: TrainConfig) -> list[Measured]:
    """A run on so many new processes."""
    context = multiprocessing.get_context("spawn")
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    environment = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(ranks),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    started = []
    for rank in range(ranks):
        reader, writer = context.Pipe(duplex=False)
        own = {**environment, "RANK": str(rank)} if ranks > 1 else {}
        process = context.Process(target=_train, args=(writer, own, config))
        process.start()
        writer.close()
        started.append((process, reader))
    result = [reader.recv() for _, reader in started]
    for process, _ in started:
        process.join()
    return result


def _train(pipe: Connection, environment: dict[str, str], config: TrainConfig) -> None:
    os.environ.update(environment)
    torch.set_num_threads(config.run.threads or 1)
    losses: list[float] = []
    times: list[tuple[float, float]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            losses.append(event.loss)

    with joined(torch.device("cpu")) as group:
        world: Any = Alone() if group.is_alone else Ranks(group)
        share = world.share

        def timed(batch: Any) -> Any:
            times.append((time.perf_counter(), time.process_time()))
            return share(batch)

        world.share = timed
        trainer = Trainer(config, on_event=listen, world=world)
        trainer.run()
        states = [s for o in trainer.optimizers for s in o.state.values()]
    n_bytes = sum(v.nbytes for s in states for v in s.values() if isinstance(v, Tensor))
    # Every step is timed from its beginning to the next one's.
    wall, processor = (b - a for a, b in zip(times[SKIPPED], times[-1], strict=True))
    pipe.send(Measured(wall, processor, n_bytes, losses))


if __name__ == "__main__":
    sys.exit(main())
