"""Trains a byte-level BPE tokenizer on text files and says how well it does.

bytemill tok-train --input corpus/ --vocab-size 32768 --out tokenizer
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from bytemill import Tokenizer
from bytemill._types import TieBreak
from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, check_new, check_out, exit_status
from bytemill.cli.console import inputs, on_cluster
from bytemill.cli.console.interrupts import held
from bytemill.cli.console.messages import in_flags
from bytemill.cli.console.streams import tell
from bytemill.cli.progress import Progress
from bytemill.cli.vocabularies import saved
from bytemill.cli.vocabularies.base import add_extend, add_superwords
from bytemill.cli.vocabularies.plan import plan
from bytemill.data import InputFile, iter_documents
from bytemill.files import new_folder
from bytemill.folder_lock import locked
from bytemill.formats.folder import CONFIG_NAME, DOING
from bytemill.patterns import NAMES

# What compression is measured on, at most: enough for three digits, and no wait.
SAMPLE_BYTES = 8_000_000
SAMPLE_FILES = 32


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Train a byte-level BPE tokenizer on text files.", epilog=EPILOG
    )
    add = result.add_argument
    inputs.add_input(result, required=False)
    add("--vocab-size", type=int, required=True, metavar="N", help="tokens, special ones included")
    add("--out", required=True, metavar="DIR", help="the folder to write the tokenizer to")
    add("--overwrite", action="store_true", help="replace a tokenizer that is in --out")
    add(
        "--pattern",
        help=f"{', '.join(NAMES)}, or a regex (default: gpt2, or that of the counts in --counts)",
    )
    add(
        "--special",
        nargs="+",
        action="extend",
        default=[],
        metavar="TOKEN",
        help="special tokens, which separate documents (default: none, or those of "
        "the counts in --counts)",
    )
    add(
        "--chat",
        action="store_true",
        help="also the nine special tokens of conversations, <|bos|> the first, without which a "
        "model cannot be made an assistant",
    )
    add_extend(result)
    add(
        "--tie-break",
        choices=get_args(TieBreak),
        default="lexicographic",
        help="which of several most frequent pairs is merged (default: %(default)s)",
    )
    add("--max-chars", type=int, metavar="N", help="count N characters in all (default: no limit)")
    add(
        "--doc-cap",
        type=int,
        metavar="N",
        help="count at most N characters of each document (default: no limit)",
    )
    add(
        "--min-frequency",
        type=int,
        default=1,
        metavar="N",
        help="merge no pair that occurs less than N times (default: %(default)s)",
    )
    add(
        "--max-token-length",
        type=int,
        metavar="N",
        help="make no token longer than N bytes (default: no limit)",
    )
    add_superwords(result)
    add("--threads", type=int, metavar="N", help="worker threads (default: all cores)")
    on_cluster.add_ray(result)
    inputs.add_flags(result)
    add(
        "--counts",
        metavar="FILE",
        help="if FILE exists, train on the counts in it instead of on --input; if not, save the "
        "counts there (default: neither)",
    )
    add(
        "--held-out",
        nargs="+",
        action="extend",
        metavar="WHAT",
        help="text to measure compression on, which is not trained on: files, folders or globs, - "
        "for stdin; or a fraction, such as 0.01, of the documents of --input (chosen by a hash of "
        "their text; default: measure on text trained on)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    made: list[Path] = []

    def interrupted() -> str:
        if Path(args.out, CONFIG_NAME) in made:
            return f"the tokenizer was saved in {args.out}"
        counts = "".join(f"; the counts were saved in {path}" for path in made)
        return f"no tokenizer was written{counts}"

    return exit_status(lambda: run(args, made), interrupted)


def run(args: argparse.Namespace, made: list[Path]) -> None:
    """Trains; `made` is told what has been written."""
    on_cluster.check_ray(args)
    n_inputs = len(args.input or [])
    places = [*(args.input or []), *(args.held_out or [])]
    if places.count("-") > 1:
        raise ValueError("-: stdin can be read once; give it to --input or to --held-out")
    out = Path(args.out)
    check_out(out)
    with (
        inputs.named(places, args.format) as paths,
        new_folder(out),
        locked(out, DOING),
    ):
        args.input, args.held_out = paths[:n_inputs], paths[n_inputs:]
        Job(args, made).run()


class Job:
    """One training run, as it is planned."""

    def __init__(self, args: argparse.Namespace, made: list[Path]) -> None:
        self.args = args
        self.made = made
        self.out = Path(args.out)
        check_new(self.out, overwrite=args.overwrite, kind="a tokenizer", marks=(CONFIG_NAME,))
        self.plan = plan(args)
        self.trainer = self.plan.trainer
        self.sample: list[str] = []
        self.kept = 0

    def run(self) -> None:
        """Counts, trains, saves, and prints the summary."""
        began = time.perf_counter()
        self.count()
        counted = time.perf_counter()
        tokenizer = self.train()
        trained = time.perf_counter()
        counts = self.trainer.counts
        what = "pretokens" if self.args.superwords_from is None else "spans"
        if self.plan.counts is None:
            told = ("counted", formatting.phase(counted - began, counts.n_bytes))
        else:
            told = (
                "counts",
                f"read from {self.plan.counts_file}: of {formatting.megabytes(counts.n_bytes)}",
            )
        merges = formatting.count(len(tokenizer.merges) - self.n_before(), "merge")
        table = [
            (told[0], f"{told[1]}; {counts.total:,} {what}, {len(counts):,} distinct"),
            ("merged", f"{merges} in {trained - counted:.2f} s"),
        ]
        if peak := formatting.peak_memory():
            table.append(("peak memory", formatting.megabytes(peak)))
        table += [
            ("vocabulary", f"{len(tokenizer.vocab):,} tokens"),
            # Before anything is written: held-out text may be bad input too.
            ("compression", self.compression(tokenizer)),
            *formatting.labelled("longest tokens", formatting.longest_tokens(tokenizer)),
            ("fingerprint", tokenizer.fingerprint),
        ]
        with held():
            self.made[:0] = saved.save(tokenizer, self.out)
        print(formatting.rows([*table, *saved.told(self.made)]))

    def count(self) -> None:
        """Fills the trainer's counts."""
        args = self.args
        if self.plan.counts is not None:
            self.trainer.add_counts(self.plan.counts)
            if self.plan.fraction:
                with Progress("held out", "MB") as bar:
                    self.find_held_out(bar)
            return
        with Progress("count", "MB") as bar:
            if args.ray is not None:
                on_cluster.count(args, self.plan.inputs, self.trainer, bar.update)
            elif self.plan.fraction:
                documents = self.documents(self.plan.inputs, progress=bar.update)
                self.trainer.feed(self.keep_apart(documents))
            else:
                self.trainer.feed_files(
                    [file.path for file in self.plan.inputs],
                    text_column=args.text_column,
                    errors=args.errors,
                    progress=bar.update,
                )
        self.check_enough()
        if self.plan.counts_file:
            counts = self.trainer.counts.with_held_out(self.plan.fraction)
            counts.save(str(self.plan.counts_file))
            self.made.append(self.plan.counts_file)

    def check_enough(self) -> None:
        """Raises if there is no text and merges are wanted: the vocabulary would be bytes alone."""
        least = 256 + len(self.args.special) if self.plan.base is None else len(self.plan.base)
        if len(self.trainer.counts) or self.args.vocab_size == least:
            return
        named = " ".join(["--input", *self.args.input])
        rest = " besides what is held out" if self.plan.fraction else ""
        raise ValueError(f"{named}: there is no text to train on{rest}")

    def find_held_out(self, bar: Progress) -> None:
        """Reads the inputs until there are enough held-out documents."""
        rest = self.keep_apart(self.documents(self.plan.inputs, progress=bar.update))
        while self.kept < SAMPLE_BYTES and next(rest, None) is not None:
            pass

    def keep_apart(self, documents: Iterable[str]) -> Iterator[str]:
        """Passes documents on but for the held-out ones, of which it keeps some."""
        for document in documents:
            digest = zlib.crc32(document.encode("utf-8", "surrogatepass"))
            if digest >= self.plan.fraction * 2**32:
                yield document
            elif self.kept < SAMPLE_BYTES:
                self.kept += len(document)
                self.sample.append(document)

    def train(self) -> Tokenizer:
        """Learns the merges; a vocabulary smaller than asked for is told on stderr."""
        with warnings.catch_warnings(record=True) as caught, Progress("merge", "merges") as bar:
            warnings.simplefilter("always")
            if self.plan.base is None:
                tokenizer = self.trainer.train(self.args.vocab_size, progress=bar.update)
            else:
                tokenizer = self.plan.base.extended(
                    self.trainer.counts,
                    self.args.vocab_size,
                    tie_break=self.args.tie_break,
                    min_frequency=self.args.min_frequency,
                    max_token_length=self.args.max_token_length,
                    progress=bar.update,
                )
        for warning in caught:
            tell(f"warning: {in_flags(str(warning.message))}")
        return tokenizer

    def n_before(self) -> int:
        """How many merges there were to begin with."""
        return 0 if self.plan.base is None else len(self.plan.base.merges)

    def compression(self, tokenizer: Tokenizer) -> str:
        """Bytes per token of held-out documents, or else of some that were trained on."""
        if self.plan.fraction:
            return f"{formatting.compression(tokenizer, self.sample)}, held out"
        if self.plan.held_out:
            documents = self.documents(self.plan.held_out)
            how = "of --held-out" if self.plan.counts is not None else "held out"
            return f"{formatting.compression(tokenizer, documents)}, {how}"
        if not self.plan.inputs:
            return "not measured: no --held-out"
        again = [file for file in self.plan.inputs if file.path.is_file()]
        if not again:
            return "not measured: the text came through a pipe; name --held-out"
        some = again[:: -(-len(again) // SAMPLE_FILES)]
        share = SAMPLE_BYTES // len(some)
        documents = itertools.chain.from_iterable(
            first(self.documents([file], doc_cap=share), share) for file in some
        )
        return f"{formatting.compression(tokenizer, documents)}, of the text trained on"

    def documents(
        self,
        files: Iterable[InputFile],
        doc_cap: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[str]:
        """The documents of files."""
        return iter_documents(
            [file.path for file in files],
            self.args.text_column,
            self.args.errors,
            special_tokens=self.args.special,
            doc_cap=doc_cap,
            progress=progress,
        )


def first(documents: Iterable[str], n_chars: int) -> Iterator[str]:
    """Documents until there are `n_chars` characters."""
    for document in documents:
        yield document
        n_chars -= len(document)
        if n_chars <= 0:
            return
