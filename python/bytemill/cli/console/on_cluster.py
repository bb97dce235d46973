"""`--ray`: a program's work on a Ray cluster instead of in threads of this process."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from bytemill import BpeTrainer
    from bytemill.data import InputFile
    from bytemill.data.documents import Progress


def add_ray(parser: argparse.ArgumentParser) -> None:
    """--ray."""
    parser.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="work on a Ray cluster: the one whose head node is at ADDRESS (host:port), or, "
        "without ADDRESS, the one that this machine is in; all its nodes must see the files under "
        "these paths (default: threads of this machine)",
    )


def check_ray(args: argparse.Namespace) -> None:
    """ValueError if --ray comes with a flag that is for one machine."""
    if args.ray is None:
        return
    given = vars(args)
    alone = [
        flag
        for flag, name in (("--threads", "threads"), ("--max-chars", "max_chars"))
        if given.get(name) is not None
    ]
    if any(_is_number(word) for word in given.get("held_out") or ()):
        alone.append("--held-out with a fraction")
    if "-" in (args.input or ()):
        alone.append("--input -")
    if alone:
        raise ValueError(f"--ray {args.ray}: {alone[0]} is for one machine; leave one of them out")


def connected(args: argparse.Namespace) -> ModuleType:
    """`bytemill.data.on_ray`, with the cluster that --ray names.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: There is no such cluster.
    """
    from bytemill.data import on_ray

    on_ray.connect(args.ray)
    return on_ray


def count(
    args: argparse.Namespace,
    files: Sequence[InputFile],
    trainer: BpeTrainer,
    progress: Progress,
) -> None:
    """Counts files on the cluster, into a trainer."""
    counts = connected(args).count(
        [file.path for file in files],
        pattern=trainer.pat_str,
        special_tokens=trainer.special_tokens,
        doc_cap=args.doc_cap,
        text_column=args.text_column,
        errors=args.errors,
        progress=progress,
    )
    trainer.add_counts(counts)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
