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

from bytemill import BpeTrainer, Counts, Tokenizer
from bytemill._arguments import check_superwords, check_vocab_size
from bytemill._types import TieBreak
from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, check_new, check_out, check_writable, exit_status
from bytemill.cli.console import inputs, on_cluster
from bytemill.cli.console.interrupts import held
from bytemill.cli.console.messages import in_flags
from bytemill.cli.console.streams import tell
from bytemill.cli.progress import Progress
from bytemill.cli.vocabularies.base import add_extend, add_superwords, base_of
from bytemill.data import InputFile, expand_inputs, iter_documents
from bytemill.data.readers import check_packages
from bytemill.files import new_folder, read_json_object
from bytemill.folder_lock import locked
from bytemill.formats.folder import CONFIG_NAME, DOING, write
from bytemill.patterns import NAMES, name_of

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
    add("--pattern", help=f"{', '.join(NAMES)}, or a regex (default: gpt2)")
    add(
        "--special",
        nargs="+",
        action="extend",
        default=[],
        metavar="TOKEN",
        help="special tokens, which separate documents (default: none)",
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
    """One training run. All that can be wrong with the arguments is found before text is read."""

    def __init__(self, args: argparse.Namespace, made: list[Path]) -> None:
        self.args = args
        self.made = made
        self.out = Path(args.out)
        check_new(self.out, overwrite=args.overwrite, kind="a tokenizer", marks=(CONFIG_NAME,))
        self.base = base_of(args)
        self.trainer = BpeTrainer(
            pattern=args.pattern,
            special_tokens=args.special,
            tie_break=args.tie_break,
            doc_cap=args.doc_cap,
            max_chars=args.max_chars,
            min_frequency=args.min_frequency,
            max_token_length=args.max_token_length,
            superwords_from=args.superwords_from,
            superwords_pattern=args.superwords_pattern,
            num_threads=args.threads,
        )
        check_vocab_size(args.vocab_size, args.special)
        check_superwords(args.superwords_from, args.vocab_size, args.special)
        self.counts_file = Path(args.counts) if args.counts else None
        self.has_counts = self.counts_file is not None and self.counts_file.exists()
        if self.counts_file is not None and not self.has_counts:
            check_writable(self.counts_file.parent)
        if not args.input and not self.has_counts:
            raise ValueError("--input is missing: there is nothing to train on")
        self.fraction, held_out = parse_held_out(args.held_out or [])
        self.held_out = expand_inputs(held_out) if held_out else []
        check_packages(self.held_out)
        kept_apart = {file.path.resolve() for file in self.held_out}
        self.counts = (
            self.load_counts(self.counts_file) if self.counts_file and self.has_counts else None
        )
        reads = args.input and (self.counts is None or self.fraction)
        files = expand_inputs(args.input) if reads else []
        self.inputs = [file for file in files if file.path.resolve() not in kept_apart]
        if files and not self.inputs:
            raise ValueError("--held-out takes all files of --input: nothing is left to train on")
        if self.fraction and self.counts is not None:
            self.check_held_out(self.counts)
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
        n_bytes = counts.n_bytes
        table = [
            (
                "counts" if self.has_counts else "counted",
                (f"read from {self.counts_file}; " if self.has_counts else "")
                + f"{formatting.phase(counted - began, n_bytes)}; {counts.total:,} {what}, "
                f"{len(counts):,} distinct",
            ),
            (
                "merged",
                f"{formatting.phase(trained - counted, n_bytes)}; "
                f"{formatting.count(len(tokenizer.merges) - self.n_before(), 'merge')}",
            ),
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
            write(tokenizer.vocabulary, self.out)  # the folder is locked
            ranks = read_json_object(self.out / CONFIG_NAME)["ranks_file"]
            self.made[:0] = [self.out / CONFIG_NAME, self.out / ranks]
        sizes = [f"{path} ({formatting.megabytes(path.stat().st_size)})" for path in self.made]
        print(formatting.rows([*table, *formatting.labelled("written", sizes)]))

    def count(self) -> None:
        """Fills the trainer's counts."""
        args = self.args
        if self.counts is not None:
            self.trainer.add_counts(self.counts)
            if self.fraction:
                with Progress("held out", "MB") as bar:
                    self.find_held_out(bar)
            return
        with Progress("count", "MB") as bar:
            if args.ray is not None:
                on_cluster.count(args, self.inputs, self.trainer, bar.update)
            elif self.fraction:
                documents = self.documents(self.inputs, progress=bar.update)
                self.trainer.feed(self.keep_apart(documents))
            else:
                self.trainer.feed_files(
                    [file.path for file in self.inputs],
                    text_column=args.text_column,
                    errors=args.errors,
                    progress=bar.update,
                )
        self.check_enough()
        if self.counts_file:
            counts = self.trainer.counts.with_held_out(self.fraction)
            counts.save(str(self.counts_file))
            self.made.append(self.counts_file)

    def check_enough(self) -> None:
        """Raises if there is no text and merges are wanted: the vocabulary would be bytes alone."""
        least = 256 + len(self.args.special) if self.base is None else len(self.base)
        if len(self.trainer.counts) or self.args.vocab_size == least:
            return
        named = " ".join(["--input", *self.args.input])
        rest = " besides what is held out" if self.fraction else ""
        raise ValueError(f"{named}: there is no text to train on{rest}")

    def check_held_out(self, counts: Counts) -> None:
        """Raises unless the documents to measure on can be read, and are not in the counts."""
        fraction, path = self.fraction, self.counts_file
        if counts.held_out < fraction:
            theirs = f"{counts.held_out:g} of the documents" if counts.held_out else "no documents"
            raise ValueError(
                f"--held-out {fraction:g}: the counts in {path} were made with {theirs} held out; "
                "name held-out files instead, or another file for --counts"
            )
        if not self.inputs:
            raise ValueError(
                f"--held-out {fraction:g}: to measure on these documents, name the --input that "
                f"{path} was made from; or leave --held-out out"
            )

    def find_held_out(self, bar: Progress) -> None:
        """Reads the inputs until there are enough held-out documents."""
        rest = self.keep_apart(self.documents(self.inputs, progress=bar.update))
        while self.kept < SAMPLE_BYTES and next(rest, None) is not None:
            pass

    def load_counts(self, path: Path) -> Counts:
        """The saved counts, if they were made as this run would make them."""
        counts = Counts.load(str(path))
        for option, theirs, ours in (
            ("--pattern", shown(counts.pat_str), shown(self.trainer.pat_str)),
            ("--special", counts.special_tokens, self.trainer.special_tokens),
        ):
            if theirs != ours:
                raise ValueError(
                    f"--counts {path}: it was made with {option} {theirs}, not {ours}; "
                    "name another file to count again"
                )
        args = self.args
        if args.input or args.max_chars or args.doc_cap:
            note = f"note: training on the counts in {path}, whatever they were made from; "
            unused = "--input, --max-chars and --doc-cap are not used"
            if self.fraction:
                unused = "--input is for --held-out alone, --max-chars and --doc-cap are not used"
            tell(note + unused)
        return counts

    def keep_apart(self, documents: Iterable[str]) -> Iterator[str]:
        """Passes documents on but for the held-out ones, of which it keeps some."""
        for document in documents:
            digest = zlib.crc32(document.encode("utf-8", "surrogatepass"))
            if digest >= self.fraction * 2**32:
                yield document
            elif self.kept < SAMPLE_BYTES:
                self.kept += len(document)
                self.sample.append(document)

    def train(self) -> Tokenizer:
        """Learns the merges; a vocabulary smaller than asked for is told on stderr."""
        with warnings.catch_warnings(record=True) as caught, Progress("merge", "merges") as bar:
            warnings.simplefilter("always")
            if self.base is None:
                tokenizer = self.trainer.train(self.args.vocab_size, progress=bar.update)
            else:
                tokenizer = self.base.extended(
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
        return 0 if self.base is None else len(self.base.merges)

    def compression(self, tokenizer: Tokenizer) -> str:
        """Bytes per token of held-out documents, or else of some that were trained on."""
        if self.fraction:
            return f"{formatting.compression(tokenizer, self.sample)}, held out"
        if self.held_out:
            documents = self.documents(self.held_out)
            how = "of --held-out" if self.has_counts else "held out"
            return f"{formatting.compression(tokenizer, documents)}, {how}"
        if not self.inputs:
            return "not measured: no --held-out"
        again = [file for file in self.inputs if file.path.is_file()]
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


def shown(pat_str: str) -> str:
    """A pattern as a user writes it."""
    return name_of(pat_str) or repr(pat_str)


def parse_held_out(words: Sequence[str]) -> tuple[float, list[str]]:
    """The fraction, or 0 and the paths."""
    if len(words) == 1 and not Path(words[0]).exists():
        try:
            fraction = float(words[0])
        except ValueError:
            return 0.0, list(words)
        if not 0 < fraction < 1:
            raise ValueError(f"--held-out {words[0]}: a fraction must lie between 0 and 1")
        return fraction, []
    return 0.0, list(words)
