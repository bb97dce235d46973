"""Takes another tool's model in as a run: for generate, evaluate, chat-eval, and to train on.

bytemill import SmolLM2-135M --out runs/smol
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bytemill.cli.command import EPILOG, check_writable, exit_status
from bytemill.cli.console.streams import tell
from bytemill.cli.vocabularies.given import add_tokenizer, read
from bytemill.lm.interchange.taking_in import take_in


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Make a run's folder of a folder that transformers reads (config.json and "
        "safetensors files), if its model is shaped like Llama, a NanoChat or a GPT-2. "
        "What has no counterpart is refused by name, and so are missing or extra tensors.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add("source", metavar="FOLDER", help="the model's folder, as transformers reads it")
    add("--out", required=True, metavar="RUN", help="the run's folder, which must not be there yet")
    add_tokenizer(result, default="that of the model's folder")
    add("--no-tokenizer", action="store_true", help="take in the model alone")
    add(
        "--context-length",
        type=int,
        metavar="N",
        help="keep a context of so many tokens (default: the model's)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "nothing was written")


def run(args: argparse.Namespace) -> None:
    """Takes it in; the run's folder is the last line."""
    if args.no_tokenizer and args.tokenizer is not None:
        raise ValueError("--no-tokenizer: it contradicts --tokenizer; give one of them")
    check_writable(Path(args.out).parent)
    done = take_in(
        args.source,
        args.out,
        tokenizer=None if args.tokenizer is None else read(args.tokenizer),
        with_tokenizer=not args.no_tokenizer,
        context_length=args.context_length,
    )
    config = done.config
    tell(
        f"{done.architecture}: {done.n_params:,} parameters, {config.n_layer} layers of width "
        f"{config.d_model}, a context of {config.context_length:,} tokens"
    )
    if done.tokenizer is None:
        tell("without a tokenizer; generate needs one: give --tokenizer there")
    print(done.run)
