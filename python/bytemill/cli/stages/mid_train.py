"""Trains a base model on conversations and questions, before it is taught to answer.

bytemill mid-train --init-from runs/base --data data --out runs/mid
bytemill mid-train --out runs/mid --resume
torchrun --nproc-per-node 2 -m bytemill mid-train --init-from runs/base --out runs/mid
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bytemill.cli.stages.supervised import parser_of, trained
from bytemill.cli.train import launched
from bytemill.lm.stages import MidConfig, MidTraining
from bytemill.lm.train import Result

PROG = "python -m scripts.mid_train"


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The command line: a flag for each field of `MidConfig`."""
    about = (
        "Train a base model on conversations and questions, all of whose tokens it learns. "
        "Ctrl-C saves; --resume goes on, from there or from the last checkpoint, and ends with "
        "the same weights."
    )
    return parser_of(prog, about, MidConfig)


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return launched(lambda: run(args))


def run(args: argparse.Namespace) -> Result:
    """Trains, as one process or as one of those that torchrun has started."""
    return trained("mid-train", args, MidConfig, MidTraining)
