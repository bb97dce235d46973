"""`--extend`: the tokenizer that training goes on from."""

from __future__ import annotations

import argparse

from bytemill import Tokenizer
from bytemill.tokenizer.extending import check_extensible


def add_extend(parser: argparse.ArgumentParser) -> None:
    """--extend."""
    parser.add_argument(
        "--extend",
        metavar="DIR",
        help="a tokenizer's folder: its tokens keep their ids, and merges are added up to "
        "--vocab-size, with its pattern and special tokens (default: begin with the bytes)",
    )


def base_of(args: argparse.Namespace) -> Tokenizer | None:
    """The tokenizer of --extend, whose pattern and special tokens become those of `args`.

    Raises:
        ValueError: It cannot be extended to --vocab-size; --pattern or --special is given, too.
    """
    if args.extend is None:
        args.pattern = "gpt2" if args.pattern is None else args.pattern
        return None
    if args.pattern is not None or args.special:
        given = "--special" if args.pattern is None else "--pattern"
        raise ValueError(
            f"--extend {args.extend}: its pattern and special tokens are kept; leave out {given}"
        )
    base = Tokenizer.load(args.extend)
    check_extensible(base.vocabulary, args.vocab_size)
    args.pattern, args.special = base.pat_str, list(base.special_tokens)
    return base
