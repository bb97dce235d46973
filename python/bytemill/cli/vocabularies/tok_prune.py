"""Cuts a tokenizer down to the tokens that texts need.

bytemill tok-prune tokenizer --input corpus/ --out smaller
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from bytemill._arguments import check_limit
from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, check_new, exit_status
from bytemill.cli.console import inputs
from bytemill.cli.console.interrupts import held
from bytemill.cli.progress import Progress
from bytemill.cli.vocabularies import saved
from bytemill.cli.vocabularies.given import HELP, read
from bytemill.data import expand_inputs, iter_documents
from bytemill.data.readers import check_packages
from bytemill.files import new_folder
from bytemill.folder_lock import locked
from bytemill.formats.folder import CONFIG_NAME, DOING
from bytemill.tokenizer.pruning import separators


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Cut a tokenizer down to the tokens that texts need: the bytes, special "
        "tokens, tokens that occur and those that they are merged from, with new ids.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add("tokenizer", metavar="TOKENIZER", help=HELP)
    inputs.add_input(result, required=True)
    add("--out", required=True, metavar="DIR", help="the folder to write the smaller one to")
    add("--overwrite", action="store_true", help="replace a tokenizer that is in --out")
    add(
        "--min-count",
        type=int,
        default=1,
        metavar="N",
        help="tokens that occur less often go, too; above 1 the texts then have other and more "
        "tokens (default: %(default)s)",
    )
    inputs.add_flags(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    out = Path(args.out)

    def interrupted() -> str:
        was_saved = getattr(args, "was_saved", False)
        return f"the tokenizer was saved in {out}" if was_saved else "no tokenizer was written"

    return exit_status(lambda: run(args, out), interrupted)


def run(args: argparse.Namespace, out: Path) -> None:
    """Reads, cuts, saves, and prints the summary."""
    check_limit("min_count", args.min_count)
    whole = read(args.tokenizer)
    began = time.perf_counter()
    with inputs.named(args.input, args.format) as paths, new_folder(out), locked(out, DOING):
        check_new(out, overwrite=args.overwrite, kind="a tokenizer", marks=(CONFIG_NAME,))
        files = expand_inputs(paths)
        check_packages(files)
        with Progress("read", "MB") as bar:
            documents = iter_documents(
                [file.path for file in files],
                args.text_column,
                args.errors,
                special_tokens=separators(whole.vocabulary),
                progress=bar.update,
            )
            smaller = whole.pruned(documents, min_count=args.min_count)
        with held():
            written = saved.save(smaller, out)
            args.was_saved = True
    seconds = time.perf_counter() - began
    went = len(whole) - len(smaller)
    rows = [
        ("read", f"{formatting.count(len(files), 'file')} in {seconds:.2f} s"),
        (
            "vocabulary",
            f"{len(smaller):,} of {formatting.count(len(whole), 'token')}; {went:,} went",
        ),
        ("fingerprint", smaller.fingerprint),
        *saved.told(written),
    ]
    print(formatting.rows(rows))
