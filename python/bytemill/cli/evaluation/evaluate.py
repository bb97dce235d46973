"""Loss, perplexity and bits per byte of a trained model, on shards or on text files.

bytemill evaluate --model runs/first --data shards
bytemill evaluate --model runs/first --text book.txt --stride 128
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict

from bytemill.cli import formatting, model
from bytemill.cli.command import EPILOG
from bytemill.cli.console import inputs
from bytemill.cli.evaluation.results import add_out, asked, ended
from bytemill.cli.progress import Progress
from bytemill.data import iter_documents
from bytemill.lm.batches.tokens import open_tokens
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.corpus import encoded, evaluate


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Measure how well a trained model predicts. Nothing is random: the same "
        "command gives the same figures.",
        epilog=EPILOG,
    )
    model.add_flags(result)
    add = result.add_argument
    source = result.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="DIR", help="a folder of shards, or a .npy file of ids")
    source.add_argument(
        "--text",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="text files, folders or globs, as tok-train reads them; - is stdin",
    )
    inputs.add_flags(result)
    add(
        "--split",
        choices=("train", "val"),
        default="val",
        help="which of the shards to read (default: %(default)s)",
    )
    add(
        "--stride",
        type=int,
        metavar="N",
        help="move the window by N tokens: less takes longer and gives every token more context "
        "(default: the context length)",
    )
    add(
        "--batch-size",
        type=int,
        default=8,
        metavar="N",
        help="windows at a time (default: %(default)s)",
    )
    add("--max-tokens", type=int, metavar="N", help="read at most N tokens (default: all)")
    add_out(result, "results")
    add("--json", action="store_true", help="print one line of JSON instead of a table")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return ended(lambda: run(args), "nothing was measured")


def run(args: argparse.Namespace) -> None:
    """Loads, measures and prints."""
    with inputs.named(args.text or [], args.format) as paths:
        measure(args, paths)


def measure(args: argparse.Namespace, paths: list[str]) -> None:
    """Measures shards, or the texts at `paths`."""
    # A bare array of ids can be scored without a tokenizer, but for bits per byte.
    with asked(args, needs_tokenizer=bool(args.text)) as this:
        loaded, tokenizer = this.loaded, this.tokenizer
        with this.ranks.all_or_none():
            if args.text and tokenizer is not None:
                texts = iter_documents(
                    paths,
                    args.text_column,
                    args.errors,
                    special_tokens=list(tokenizer.special_tokens),
                )
                tokens = encoded(texts, tokenizer)
            else:
                tokens = open_tokens(args.data, split=args.split, tokenizer=tokenizer)
        began = time.perf_counter()
        with Progress("evaluate", "tokens") as bar:
            result = evaluate(
                loaded.model,
                tokens,
                tokenizer,
                stride=args.stride,
                batch_size=args.batch_size,
                max_tokens=args.max_tokens,
                computing=lambda: runtime.autocast(this.device, this.dtype),
                ranks=this.ranks,
                progress=bar.update if this.ranks.is_first else None,
            )
        seconds = time.perf_counter() - began
        if not this.ranks.is_first:
            return
        # exp of a large loss overflows, and JSON has no infinity.
        figures = {k: v if math.isfinite(v or 0) else None for k, v in asdict(result).items()}
        read = {"data": tokens.content, "stride": args.stride, "max_tokens": args.max_tokens}
        this.save("loss", {**read, **figures})
    if args.json:
        whole = {"step": loaded.step, "checkpoint": str(loaded.path), **figures}
        print(json.dumps(whole, allow_nan=False))
        return
    bpb = result.bits_per_byte
    rows = [
        ("checkpoint", f"{loaded.path}, step {loaded.step:,}"),
        ("tokens", f"{result.n_tokens:,} in {seconds:.1f} s"),
        ("loss", f"{result.loss:.4f} nats per token"),
        ("perplexity", f"{result.perplexity:,.2f}"),
        ("bits per byte", "not known without text" if bpb is None else f"{bpb:.4f}"),
    ]
    if result.n_bytes:
        rows.insert(2, ("text", formatting.megabytes(result.n_bytes)))
    print(formatting.rows(rows))
