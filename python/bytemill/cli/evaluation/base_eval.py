"""CORE of a base model, and what it writes: how it compares with models of any size.

bytemill base-eval --model runs/d12 --core data/eval_bundle
bytemill base-eval --model runs/d12 --core data/eval_bundle --max-items 100 --tasks arc_easy copa
torchrun --nproc-per-node 8 -m bytemill base-eval --model runs/d12 --core data/eval_bundle
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bytemill import Tokenizer
from bytemill.cli import formatting, model
from bytemill.cli.command import EPILOG
from bytemill.cli.evaluation.results import Asked, add_out, asked, ended
from bytemill.cli.progress import Progress
from bytemill.lm.batches.tokens import open_tokens
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.core import TASKS, CoreResult, run_core
from bytemill.lm.evaluate.core.results import table
from bytemill.lm.evaluate.corpus import evaluate
from bytemill.lm.generate.text import stream_text

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
    add_out(result, "answers and results")
    add("--json", action="store_true", help="print one line of JSON instead of tables")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return ended(lambda: run(args), "what was answered is kept; the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Loads, asks and prints."""
    with asked(args) as this:
        tokenizer = model.tokenizer_of(args, this.loaded)
        samples = _samples(this, tokenizer) if this.ranks.is_first else []
        bits, data = _bits_per_byte(args, this, tokenizer) if args.data else (None, None)
        core = _core(args, this, tokenizer) if args.core else None
        if not this.ranks.is_first:
            return
        whole = this.save(
            "base",
            {
                "samples": [{"prompt": p, "text": t} for p, t in samples],
                "bits_per_byte": bits,
                "data": data,
                "core": None if core is None else _figures(core, args.max_items),
            },
        )
    if args.json:
        print(json.dumps(whole))
        return
    print("\n".join(f"{prompt}{text!r}" for prompt, text in samples))
    if bits is not None:
        print(f"\nbits per byte: {bits:.4f}")
    if core is not None:
        print(f"\n{_table(core)}")
    print(f"\nsaved: {this.out / 'base.json'}")


def _core(args: argparse.Namespace, this: Asked, tokenizer: Tokenizer) -> CoreResult:
    names = args.tasks or [task.name for task in TASKS]
    with Progress("base-eval", "items") as bar:
        return run_core(
            this.loaded.model,
            tokenizer.encode_ordinary,
            _bos_id(tokenizer),
            Path(args.core),
            tasks=[task for task in TASKS if task.name in names],
            max_items=args.max_items,
            batch_size=args.batch_size,
            computing=lambda: runtime.autocast(this.device, this.dtype),
            keep=this.out / "core",
            identity=this.identity,
            ranks=this.ranks,
            progress=(lambda name, done, n: bar.update(done, n, name))
            if this.ranks.is_first
            else None,
        )


def _bits_per_byte(
    args: argparse.Namespace, this: Asked, tokenizer: Tokenizer
) -> tuple[float | None, str]:
    """Of the validation split, and a hash of that."""
    with this.ranks.all_or_none():
        tokens = open_tokens(args.data, split="val", tokenizer=tokenizer)
    with Progress("bits per byte", "tokens") as bar:
        found = evaluate(
            this.loaded.model,
            tokens,
            tokenizer,
            computing=lambda: runtime.autocast(this.device, this.dtype),
            ranks=this.ranks,
            progress=bar.update if this.ranks.is_first else None,
        )
    return found.bits_per_byte, tokens.content


def _samples(this: Asked, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Greedy text after each of the sentences."""
    bos = _bos_id(tokenizer)
    first = [] if bos is None else [bos]
    found = []
    for prompt in PROMPTS:
        ids = [*first, *tokenizer.encode_ordinary(prompt)]
        pieces = stream_text(
            this.loaded.model,
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
                "content": each.content,
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
    lines = [formatting.rows(pairs), ""]
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
