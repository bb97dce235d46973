"""`python -m bytemill.gpu_check`: runs everything; prints a table; writes JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import bytemill
from bytemill import files
from bytemill.gpu_check import correctness, ranks, speed
from bytemill.gpu_check.results import Results, Row
from bytemill.gpu_check.sizes import FULL, QUICK, Shape, Sizes
from bytemill.lm.device import runtime

PARTS = ("right", "ranks", "train", "decode", "learn")
TARGETS = {"NVIDIA H200": 450_000, "NVIDIA H100 80GB HBM3": 420_000}
"""Tokens a second of the first shape, by device."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bytemill.gpu_check",
        description="Check the model stack on this machine's accelerator: results, then speed.",
        epilog="Exit status: 0 all as it must be, 1 something failed, 2 bad input.",
    )
    add = result.add_argument
    add("--device", default="auto", help='"auto", "cpu", "cuda", "cuda:N" or "mps" (default: auto)')
    add("--quick", action="store_true", help="tiny sizes, seconds: shows that it runs")
    add("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    add("--out", type=Path, metavar="FILE", help="the JSON file (default: none)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    try:
        device = runtime.choose_device(args.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sizes = QUICK if args.quick else FULL
    began = time.perf_counter()
    machine = {
        "device": runtime.device_name(device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "bytemill": bytemill.__version__,
        "quick": args.quick,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    results = Results(device, sys.stdout)
    if "right" in args.only:
        with tempfile.TemporaryDirectory() as folder:
            for name, check in correctness.checks(device, sizes, Path(folder)).items():
                results.run(name, check)
    if "ranks" in args.only:
        for name, check in ranks.checks(device, sizes).items():
            results.run(name, check)
    # TensorFloat32 for what stays in fp32, as everyone trains; after the checks, which want fp32.
    torch.set_float32_matmul_precision("high")
    measure(results, sizes, device, args.only)
    seconds = time.perf_counter() - began
    failed = results.failed
    print(f"\n{len(results.rows)} rows in {seconds:.0f} s; failed: {', '.join(failed) or 'none'}")
    if args.out is not None:
        whole = {
            "format": "bytemill-gpu-check", "version": 1, "machine": machine, "seconds": seconds,
            "failed": failed, "rows": results.to_json(),
        }  # fmt: skip
        args.out.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(args.out, (json.dumps(whole, indent=1) + "\n").encode())
    return 1 if failed else 0


def measure(results: Results, sizes: Sizes, device: torch.device, parts: Sequence[str]) -> None:
    """The speeds."""
    first = sizes.shapes[0]
    compiles = runtime.wants_compile("auto", device)
    if "train" in parts:
        for name, compiled in contestants(compiles):
            title = f"train {first.name}, {name}, {'compiled' if compiled else 'eager'}"
            results.run(title, lambda n=name, c=compiled: _train(n, first, sizes, device, c))  # type: ignore[misc]
        for shape in sizes.shapes[1:]:
            title = f"train {shape.name}, gpt"
            results.run(title, lambda s=shape: _train("gpt", s, sizes, device, compiles))  # type: ignore[misc]
        results.run("training speed", lambda: compare(results.rows, first, device))
    if "decode" in parts:
        for n_rows in sizes.decoding_rows:
            title = f"decode {first.name}, {n_rows} rows"
            results.run(title, lambda n=n_rows: speed.decoding(first, sizes, device, n))  # type: ignore[misc]
    if "learn" in parts:
        results.run("Muon against AdamW", lambda: speed.learning(first, sizes, device))


def contestants(compiles: bool) -> list[tuple[str, bool]]:
    """Names of models, and whether each is compiled."""
    names = ["gpt", "cs336"]
    try:
        import transformers
    except ImportError:
        pass
    else:
        names.append("llama")
        if hasattr(transformers, "NanoChatForCausalLM"):
            names.append("nanochat")
    if not compiles:
        return [(name, False) for name in names]
    return [*((name, True) for name in names), ("gpt", False), ("llama", False)]


def _train(name: str, shape: Shape, sizes: Sizes, device: torch.device, compiled: bool) -> Row:
    return speed.training(name, shape, sizes, device, compiled=compiled)


def compare(rows: Sequence[Row], shape: Shape, device: torch.device) -> Row:
    """Ours against eager, against the best other in this process, and against the target."""
    speeds = {
        (row.figures["model"], row.figures["compiled"]): float(row.figures["tokens_per_second"])
        for row in rows
        if row.figures.get("shape", {}).get("name") == shape.name and "model" in row.figures
    }
    ours = max(value for (name, _), value in speeds.items() if name == "gpt")
    figures = {"ours": ours}
    parts = []
    good: bool | None = None
    if ("gpt", False) in speeds and ("gpt", True) in speeds:
        figures["to_eager"] = ours / speeds["gpt", False]
        parts.append(f"{figures['to_eager']:.2f} x eager")
    if others := [value for (name, _), value in speeds.items() if name in ("llama", "nanochat")]:
        figures["to_best_other"] = ours / max(others)
        parts.append(f"{figures['to_best_other']:.2f} x the best other")
    target = TARGETS.get(runtime.device_name(device))
    if target:
        figures["target"] = target
        good = ours >= target
        parts.append(f"{ours / target:.2f} x the target of {target:,} tokens/s")
    return Row("training speed, gpt", ", ".join(parts) or f"{ours:,.0f} tokens/s", good, figures)


if __name__ == "__main__":
    sys.exit(main())
