"""What the programs that use a trained model share: its flags, and loading it."""

from __future__ import annotations

import argparse

import torch

from bytemill import Tokenizer
from bytemill.cli.vocabularies.given import add_tokenizer, read
from bytemill.lm.checkpoint.loading import LoadedModel, load_model
from bytemill.lm.device import runtime
from bytemill.lm.device.threads import MOST_THREADS


def add_flags(parser: argparse.ArgumentParser, *, by_place: bool = False) -> None:
    """--model, --checkpoint, --tokenizer, --device, --dtype, --threads.

    Args:
        parser: Gets them.
        by_place: Whether the model is named by a place, without its flag.
    """
    add = parser.add_argument
    run = "a run's folder, or one checkpoint's"
    if by_place:
        add("model", metavar="RUN", help=run)
    else:
        add("--model", required=True, metavar="RUN", help=run)
    add(
        "--checkpoint",
        type=_which,
        default="best",
        metavar="WHICH",
        help='of a run: "best" (by validation loss), "last", or a step (default: %(default)s)',
    )
    add_tokenizer(parser, default="the one saved with the run")
    add(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, cuda, cuda:1, mps, or auto, the fastest (default: %(default)s)",
    )
    add(
        "--dtype",
        choices=("auto", "float32", "bfloat16"),
        default="float32",
        help="the type to compute in; auto is bfloat16 where that is fast (default: %(default)s)",
    )
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")


def load(args: argparse.Namespace) -> tuple[LoadedModel, torch.dtype]:
    """The model that the flags name, its weights in fp32, and the dtype to compute in.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is damaged; there is no such device; `--threads` is out of range.
    """
    if args.threads is not None:
        if not 1 <= args.threads <= MOST_THREADS:
            raise ValueError(f"--threads {args.threads}: it must be from 1 to {MOST_THREADS}")
        torch.set_num_threads(args.threads)
    device = runtime.choose_device(args.device)
    dtype = runtime.choose_dtype(args.dtype, device)
    return load_model(args.model, which=args.checkpoint, device=device), dtype


def tokenizer_of(args: argparse.Namespace, loaded: LoadedModel) -> Tokenizer:
    """The tokenizer given, which must be the run's if that has one; or else the run's.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is another one, or damaged.
    """
    own = loaded.tokenizer
    if args.tokenizer is None:
        if own is None:
            raise ValueError(f"{args.model}: no tokenizer was saved with it; give --tokenizer")
        return own
    given = read(args.tokenizer)
    if own is not None and given.fingerprint != own.fingerprint:
        raise ValueError(
            f"--tokenizer {args.tokenizer}: its fingerprint is {given.fingerprint}, but the model "
            f"was trained with {own.fingerprint}; leave the flag out to use that one"
        )
    return given


def _which(text: str) -> str | int:
    return int(text) if text.isdecimal() else text
