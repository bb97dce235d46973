"""How fast a model reads prompts and writes, beside what its device would allow.

bytemill infer-bench runs/sft --batch-sizes 1 8 64
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from bytemill.cli import formatting, model
from bytemill.cli.command import EPILOG, exit_status
from bytemill.lm.device.runtime import device_name
from bytemill.lm.generate.speed import Limits, Speed, device_limits, measure
from bytemill.lm.generate.weights import DecodingWeights

_BATCH_SIZES: Final = (1, 4, 16, 32)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Measure how many tokens/s a model reads (prefill) and writes (decode), and "
        "how many the device's memory (a large copy) and arithmetic (a matrix product) would "
        "allow. The last line is JSON.",
        epilog=EPILOG,
    )
    model.add_flags(result, by_place=True)
    add = result.add_argument
    add(
        "--batch-sizes",
        type=int,
        nargs="+",
        action="extend",
        metavar="N",
        help=f"rows computed together (default: {' '.join(map(str, _BATCH_SIZES))})",
    )
    add(
        "--prompt",
        type=int,
        metavar="N",
        help="tokens of each prompt (default: half of the context, 512 at most)",
    )
    add(
        "--tokens",
        type=int,
        metavar="N",
        help="tokens written after it (default: a quarter of the context, 64 at most)",
    )
    add(
        "--runs",
        type=int,
        default=3,
        metavar="N",
        help="times that each is done; the fastest counts (default: %(default)s)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "the measurement is not complete")


def run(args: argparse.Namespace) -> None:
    """Measures and prints."""
    sizes = list(_BATCH_SIZES) if args.batch_sizes is None else args.batch_sizes
    for name, value in (
        *(("--batch-sizes", size) for size in sizes),
        *((f"--{name}", getattr(args, name)) for name in ("prompt", "tokens", "runs")),
    ):
        if value is not None and not 1 <= value <= 1_000_000:
            raise ValueError(f"{name} {value}: it must be from 1 to 1,000,000")
    loaded, dtype = model.load(args)
    context = loaded.config.context_length
    n_prompt = args.prompt or max(1, min(512, context // 2))
    n_new = args.tokens or max(1, min(64, context // 4))
    if n_prompt + n_new > context:
        raise ValueError(
            f"--prompt {n_prompt} and --tokens {n_new} are more than the model's context length, "
            f"{context}; make one smaller"
        )
    weights = DecodingWeights(loaded.model, dtype)
    limits = device_limits(weights.device, dtype)
    speeds: list[Speed] = []
    for size in sizes:
        speeds += measure(weights, limits, size, n_prompt=n_prompt, n_new=n_new, runs=args.runs)
    name = device_name(weights.device)
    print(_text(name, str(dtype).removeprefix("torch."), limits, speeds))
    whole = {
        "checkpoint": str(loaded.path),
        "device": name,
        "dtype": str(dtype).removeprefix("torch."),
        "prompt_tokens": n_prompt,
        "new_tokens": n_new,
        **asdict(limits),
        "speeds": [{**asdict(speed), "share": speed.share} for speed in speeds],
    }
    print(json.dumps(whole, allow_nan=False))


def _text(device: str, dtype: str, limits: Limits, speeds: Sequence[Speed]) -> str:
    head = [
        ("device", f"{device}, {dtype}"),
        ("memory", f"{limits.bytes_per_second / 1e9:,.1f} GB/s"),
        ("compute", f"{limits.flops_per_second / 1e9:,.0f} GFLOP/s"),
    ]
    rows = [("", "rows", "tokens/s", "limit", "share", "bound by")]
    for speed in speeds:
        figures = formatting.figure(speed.tokens_per_second), formatting.figure(speed.limit)
        share = f"{100 * speed.share:.0f} %"
        rows.append((speed.phase, f"{speed.batch_size:,}", *figures, share, speed.bound))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([formatting.rows(head), "", *lines])
