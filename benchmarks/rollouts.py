"""How fast 16 samples of one question are written, beside one sample.

    python -m benchmarks.rollouts

Two models with random weights, fp32: the demo's shape (4 layers x 192, vocabulary 512) and one of
50 M parameters (8 layers x 576, vocabulary 16,384). A prompt of 64 tokens is answered by 96 at
temperature 1 and top-k 50, as `bytemill rl` draws them: by one row, then by 16. That the rows are
those that each seed writes alone is looked at first. Both are timed by turns, in processor time,
which other programs change little, and on the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import torch

from benchmarks.lm_models import Shape, ours
from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import DecodingWeights

SHAPES: Final[dict[str, tuple[str, Shape]]] = {
    "demo": (
        "gpt",
        {
            "vocab_size": 512,
            "context_length": 256,
            "n_layer": 4,
            "n_head": 6,
            "d_model": 192,
        },
    ),
    "50M": (
        "gpt",
        {
            "vocab_size": 16_384,
            "context_length": 256,
            "n_layer": 8,
            "n_head": 9,
            "d_model": 576,
        },
    ),
}
PROMPT: Final = 64


class Speed(NamedTuple):
    """Tokens a second of some rows."""

    cpu: float
    """Of processor time, all threads together."""
    clock: float
    """On the clock."""


def timed(write: Callable[[], list[list[int]]]) -> Speed:
    """How fast rows are written."""
    cpu, clock = time.process_time(), time.perf_counter()
    rows = write()
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    n = sum(map(len, rows))
    return Speed(n / cpu, n / clock)


def compare(name: str, samples: int, n_new: int, times: int) -> tuple[list[Speed], list[Speed]]:
    """The speeds of one row, and those of so many, by turns.

    Raises:
        ValueError: A row is another one than its seed writes alone.
    """
    model = ours(*SHAPES[name])
    model.eval()
    weights = DecodingWeights(model)
    prompt = torch.randint(
        model.config.vocab_size, (PROMPT,), generator=torch.Generator().manual_seed(0)
    ).tolist()

    def write(n_rows: int, first: int = 0) -> list[list[int]]:
        seeds = range(first, first + n_rows)
        return generate(
            weights, [prompt] * n_rows, max_new_tokens=n_new, top_k=50, seed=list(seeds)
        )

    together = write(samples)
    for row in (0, samples - 1):
        if write(1, row) != [together[row]]:
            raise ValueError(f"row {row} of {samples} is not what its seed writes alone")
    one, many = [], []
    for _ in range(times):
        one.append(timed(lambda: write(1)))
        many.append(timed(lambda: write(samples)))
    return one, many


def main() -> None:
    """Runs it and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=16, help="rows beside one (default: 16)")
    parser.add_argument("--tokens", type=int, default=96, help="of a row (default: 96)")
    parser.add_argument("--times", type=int, default=5, help="(default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="(default: 2)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads; tokens a second, median [range] of {args.times}")
    for name in SHAPES:
        both = compare(name, args.samples, args.tokens, args.times)
        for n_rows, speeds in zip((1, args.samples), both, strict=True):
            print(f"{name}, {n_rows} rows: {_told([s.cpu for s in speeds])} of processor time, "
                  f"{_told([s.clock for s in speeds])} on the clock")  # fmt: skip
        for unit in Speed._fields:
            one, many = ([getattr(speed, unit) for speed in speeds] for speeds in both)
            ratios = [m / o for m, o in zip(many, one, strict=True)]
            print(f"{name}, {unit}: {statistics.median(ratios):.2f}x "
                  f"[{min(ratios):.2f}-{max(ratios):.2f}]")  # fmt: skip


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} [{min(values):,.0f}-{max(values):,.0f}]"


if __name__ == "__main__":
    main()
