"""CORE of a base model, and what it writes: how it compares with models of any size.

bytemill base-eval --model runs/d12 --core data/eval_bundle
bytemill base-eval --model runs/d12 --core data/eval_bundle --max-items 100 --tasks arc_easy copa
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from bytemill import Tokenizer, __version__
from bytemill.cli import model, report
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.progress import Progress
from bytemill.files import write_bytes
from bytemill.lm.batches.tokens import open_tokens
from bytemill.lm.checkpoint.loading import LoadedModel
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.core import TASKS, CoreResult, run_core
from bytemill.lm.evaluate.core.results import table
from bytemill.lm.evaluate.corpus import evaluate
from bytemill.lm.generate.text import stream_text

FOLDER: Final = "evaluation"
"""In a run's folder, or beside a checkpoint's."""
PROMPTS: Final = (
    "The capital of France is",
    "The chemical symbol of gold is",
    "If yesterday was Friday, then tomorrow will be",
    "The opposite of hot is",
    "The planets of the solar system are:",
    "My favorite color is",
    "If 5*x + 3 = 13, then x is",
)
"""What base models are asked to go on from, as in nanochat."""
_SAMPLE_TOKENS: Final = 16
_BOS: Final = ("<|bos|>", "<|endoftext|>")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Ask a base model the tasks of CORE, and let it go on from seven sentences. "
        "Answers are kept in the run's folder: what has been answered is not asked again.",
        epilog=EPILOG,
    )
    model.add_flags(result)
    add = result.add_argument
    add(
        "--core",
        metavar="DIR",
        help="the folder of DCLM's evaluation bundle, or any with its .jsonl files (default: only "
        "the sentences)",
    )
    add(
        "--tasks",
        nargs="+",
        action="extend",
        metavar="NAME",
        choices=[task.name for task in TASKS],
        help="some of CORE's tasks only (default: all that are in the folder)",
    )
    add("--max-items", type=int, metavar="N", help="the first N items of each task (default: all)")
    add(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="rows at a time; it changes speed and memory only (default: %(default)s)",
    )
    add(
        "--data",
        metavar="DIR",
        help="shards, on whose validation split to measure bits per byte (default: none)",
    )
    add("--out", metavar="DIR", help=f"where answers are kept (default: RUN/{FOLDER})")
    add("--json", action="store_true", help="print one line of JSON instead of tables")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "what was answered is kept; the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Loads, asks and prints."""
    loaded, dtype = model.load(args)
    tokenizer = model.tokenizer_of(args, loaded)
    out = Path(args.out) if args.out else _run_folder(loaded.path) / FOLDER
    began = time.perf_counter()
    samples = _samples(loaded, tokenizer)
    bits = _bits_per_byte(args, loaded, tokenizer, dtype) if args.data else None
    core = _core(args, loaded, tokenizer, dtype, out) if args.core else None
    whole = {
        "format": "bytemill-base-eval",
        "version": 1,
        "bytemill": __version__,
        "machine": f"{platform.machine()}, {runtime.device_name(_device(loaded))}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.perf_counter() - began, 1),
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "dtype": str(dtype).removeprefix("torch."),
        "samples": [{"prompt": p, "text": t} for p, t in samples],
        "bits_per_byte": bits,
        "core": None if core is None else _figures(core, args.max_items),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "base.json", (json.dumps(whole, indent=1) + "\n").encode())
    if args.json:
        print(json.dumps(whole))
        return
    print("\n".join(f"{prompt}{text!r}" for prompt, text in samples))
    if bits is not None:
        print(f"\nbits per byte: {bits:.4f}")
    if core is not None:
        print(f"\n{_table(core)}")
    print(f"\nsaved: {out / 'base.json'}")


def _core(
    args: argparse.Namespace,
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    dtype: torch.dtype,
    out: Path,
) -> CoreResult:
    names = args.tasks or [task.name for task in TASKS]
    device = _device(loaded)
    with Progress("base-eval", "items") as bar:
        return run_core(
            loaded.model.eval(),
            tokenizer.encode_ordinary,
            _bos_id(tokenizer),
            Path(args.core),
            tasks=[task for task in TASKS if task.name in names],
            max_items=args.max_items,
            batch_size=args.batch_size,
            computing=lambda: runtime.autocast(device, dtype),
            keep=out / "core",
            identity=f"{_content(loaded)}, {tokenizer.fingerprint}, {dtype}",
            progress=lambda name, done, n: bar.update(done, n, name),
        )


def _bits_per_byte(
    args: argparse.Namespace, loaded: LoadedModel, tokenizer: Tokenizer, dtype: torch.dtype
) -> float | None:
    tokens = open_tokens(args.data, split="val", tokenizer=tokenizer)
    device = _device(loaded)
    with Progress("bits per byte", "tokens") as bar:
        return evaluate(
            loaded.model.eval(),
            tokens,
            tokenizer,
            computing=lambda: runtime.autocast(device, dtype),
            progress=bar.update,
        ).bits_per_byte


def _samples(loaded: LoadedModel, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Greedy text after each of the sentences."""
    bos = _bos_id(tokenizer)
    first = [] if bos is None else [bos]
    found = []
    for prompt in PROMPTS:
        ids = [*first, *tokenizer.encode_ordinary(prompt)]
        pieces = stream_text(
            loaded.model.eval(),
            tokenizer,
            ids,
            max_new_tokens=_SAMPLE_TOKENS,
            temperature=0,
            overflow="slide",
        )
        found.append((prompt, "".join(pieces)))
    return found


def _bos_id(tokenizer: Tokenizer) -> int | None:
    special = tokenizer.special_tokens
    return next((special[name] for name in _BOS if name in special), None)


def _content(loaded: LoadedModel) -> str:
    """A hash of the weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(loaded.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _device(loaded: LoadedModel) -> torch.device:
    return next(loaded.model.parameters()).device


def _run_folder(checkpoint: Path) -> Path:
    """The run that a checkpoint is of: RUN/checkpoints/step-N."""
    return checkpoint.absolute().parent.parent


def _figures(core: CoreResult, max_items: int | None) -> dict[str, Any]:
    return {
        "core": core.core(),
        "interval": core.interval(),
        "core_v2": core.core(v2=True),
        "interval_v2": core.interval(v2=True),
        "max_items": max_items,
        "missing": core.missing,
        "tasks": {
            each.task.name: {
                "items": len(each.right),
                "accuracy": each.accuracy,
                "centred": each.centred(),
                "centred_v2": each.centred(v2=True),
                "cropped": each.n_cropped,
                "seconds": round(each.seconds, 2),
            }
            for each in core.tasks
        },
    }


def _table(core: CoreResult) -> str:
    head = ("items", "accuracy %", "centred", "centred v2")
    rows = [("task", head), *table(core)]
    widths = [max(len(cells[i]) for _, cells in rows) for i in range(len(head))]
    pairs = [
        (name, "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)))
        for name, cells in rows
    ]
    lines = [report.rows(pairs), ""]
    name = "the mean of these" if core.missing else "CORE"
    for label, v2 in (("", False), (" by Core_v2's baselines", True)):
        low, high = core.interval(v2=v2)
        lines.append(f"{name}{label}: {core.core(v2=v2):.4f} (95 %: {low:.4f} to {high:.4f})")
    if core.missing:
        lines.append(f"not asked: {', '.join(core.missing)}")
    n_cropped = sum(each.n_cropped for each in core.tasks)
    if n_cropped:
        items = "item was" if n_cropped == 1 else "items were"
        lines.append(f"{n_cropped:,} {items} longer than the context and lost the beginning")
    return "\n".join(lines)
