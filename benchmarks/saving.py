"""What saving costs: steps with a checkpoint among them, beside steps without.

    python -m benchmarks.saving --threads 1

One run trains a model of 4 layers x 256 on random ids and saves every 100 steps. Blocks of 50 steps
that begin with a save alternate with blocks that do not; the cost is the ratio of their medians, of
seconds on the clock and of processor time, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from bytemill.lm.train import TrainConfig, Trainer
from bytemill.lm.train.events import Event, Saved, Stepped

BLOCK = 50


def measure(
    folder: Path, pairs: int, threads: int, layers: int, width: int
) -> list[tuple[float, float]]:
    """Seconds and processor time of each block of steps but the first; those at even places begin
    with a save."""
    rng = np.random.default_rng(0)
    np.save(folder / "ids.npy", rng.integers(0, 8192, 1 << 20).astype(np.uint16))
    config = TrainConfig.of(
        data=str(folder / "ids.npy"), out=str(folder / "run"), n_layer=layers, d_model=width,
        n_head=4, context_length=256, batch_size=8, vocab_size=8192, device="cpu", threads=threads,
        dtype="float32", steps=(2 * pairs + 3) * BLOCK, eval_every=0, log_every=BLOCK,
        checkpoint_every=2 * BLOCK, schedule="constant",
    )  # fmt: skip
    marks: list[tuple[float, float]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Stepped) and event.step % BLOCK == 0:
            marks.append((time.perf_counter(), time.process_time()))
        if isinstance(event, Saved):
            size = sum(file.stat().st_size for file in event.path.iterdir())
            print(f"step {event.step}: saved {size / 1e6:.0f} MB", flush=True)

    Trainer(config, on_event=listen).run()
    blocks = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]
    return blocks[1 : 1 + 2 * pairs]


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="blocks with and without (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--layers", type=int, default=4, help="(default: 4)")
    parser.add_argument("--width", type=int, default=256, help="(default: 256)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        blocks = measure(Path(folder), args.pairs, args.threads, args.layers, args.width)
    for at, name in enumerate(("seconds", "processor time")):
        each = [block[at] for block in blocks]
        saving, plain = statistics.median(each[::2]), statistics.median(each[1::2])
        listed = ", ".join(f"{x:.2f}" for x in each)
        print(f"{name} of {BLOCK} steps, with and without a save in turn: {listed}")
        print(f"  medians {saving:.2f} and {plain:.2f}: saving costs {saving / plain - 1:+.2%}")


if __name__ == "__main__":
    main()
