"""Teaches a model to answer, by conversations: supervised fine-tuning.

bytemill sft --init-from runs/mid --data data --out runs/sft
bytemill sft --init-from runs/base --tasks "identity; spelling; arithmetic" --out runs/sft
torchrun --nproc-per-node 2 -m bytemill sft --init-from runs/mid --out runs/sft
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bytemill.cli.stages.supervised import parser_of, trained
from bytemill.cli.train import launched
from bytemill.lm.stages import Sft, SftConfig
from bytemill.lm.train import Result

PROG = "python -m scripts.chat_sft"


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The command line: a flag for each field of `SftConfig`."""
    about = (
        "Teach a model to answer, by conversations of which it learns what the assistant writes. "
        "Ctrl-C saves; --resume goes on, from there or from the last checkpoint, and ends with "
        "the same weights. `bytemill chat-eval --model RUN` then asks it."
    )
    return parser_of(prog, about, SftConfig)


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return launched(lambda: run(args))


def run(args: argparse.Namespace) -> Result:
    """Trains, as one process or as one of those that torchrun has started."""
    return trained("sft", args, SftConfig, Sft)
