"""`--extend` and `--superwords-from`: what training goes on from, and where it changes."""

from __future__ import annotations

import argparse

from bytemill import Tokenizer
from bytemill.chat.render import with_special_tokens
from bytemill.cli.vocabularies.given import HELP, read
from bytemill.tokenizer.extending import check_extensible


def add_extend(parser: argparse.ArgumentParser) -> None:
    """--extend."""
    parser.add_argument(
        "--extend",
        metavar="TOKENIZER",
        help="a tokenizer whose tokens keep their ids, and whose pattern and special tokens are "
        f"kept; merges are added up to --vocab-size. {HELP[0].upper()}{HELP[1:]} (default: begin "
        "with the bytes)",
    )


def add_superwords(parser: argparse.ArgumentParser) -> None:
    """--superwords-from and --superwords-pattern."""
    parser.add_argument(
        "--superwords-from",
        type=int,
        metavar="N",
        help="from N tokens on merge across pretokens, so that tokens may span words; counting "
        "then takes as much memory as the text (default: never)",
    )
    parser.add_argument(
        "--superwords-pattern",
        metavar="REGEX",
        help="cuts text into the stretches that such tokens may lie in (default: words and "
        "punctuation within a line; a --pattern without a name needs one)",
    )


def base_of(args: argparse.Namespace) -> Tokenizer | None:
    """The tokenizer of --extend, with --chat after it has got what it lacks; None without.

    Raises:
        ValueError: It cannot be extended to --vocab-size; --pattern or --special is given, too.
    """
    if args.extend is None:
        return None
    if args.pattern is not None or args.special:
        given = "--special" if args.pattern is None else "--pattern"
        raise ValueError(
            f"--extend {args.extend}: its pattern and special tokens are kept; leave out {given}"
        )
    if args.superwords_from is not None:
        raise ValueError(
            f"--superwords-from {args.superwords_from}: --extend goes on within the pattern of "
            f"{args.extend}; leave one of them out"
        )
    base = read(args.extend)
    if args.chat:
        base = with_special_tokens(base)
    check_extensible(base.vocabulary, args.vocab_size)
    return base
