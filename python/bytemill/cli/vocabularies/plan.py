"""What one run of tok-train is to do. All that can be wrong with its arguments is found here,
before text is read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bytemill import BpeTrainer, Counts, Tokenizer, _core
from bytemill._arguments import check_superwords, check_vocab_size
from bytemill.chat.render import SPECIAL_TOKENS
from bytemill.cli.command import check_writable
from bytemill.cli.console.streams import tell
from bytemill.cli.vocabularies.base import base_of
from bytemill.data import InputFile, expand_inputs
from bytemill.data.readers import check_packages
from bytemill.patterns import NAMES, name_of


@dataclass(frozen=True)
class Plan:
    """One training run."""

    base: Tokenizer | None
    """What is extended."""
    trainer: BpeTrainer
    counts_file: Path | None
    counts: Counts | None
    """Those in the file, to train on; None if text is to be counted."""
    fraction: float
    """Of the documents of the inputs, how many are held out, to measure on; 0 for none."""
    held_out: list[InputFile]
    """Files to measure on."""
    inputs: list[InputFile]
    """Files to count, or to find held-out documents in."""


def plan(args: argparse.Namespace) -> Plan:
    """Settles what is to be done, and in `args` the pattern and the special tokens.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An argument is out of range, or goes badly with another.
    """
    base = base_of(args)
    counts_file = Path(args.counts) if args.counts else None
    counts = _kept(counts_file)
    given = {"--pattern": args.pattern is not None, "--special": bool(args.special)}
    given["--chat"] = args.chat
    _settle(args, base, counts)
    trainer = _trainer(args)
    if counts is not None:
        _check_counts(args, trainer, counts, [flag for flag, is_given in given.items() if is_given])
    elif not args.input:
        raise ValueError("--input is missing: there is nothing to train on")
    fraction, paths = parse_held_out(args.held_out or [])
    if counts is not None:
        _tell_unused(args, fraction)
    held_out = expand_inputs(paths) if paths else []
    check_packages(held_out)
    reads = args.input and (counts is None or fraction)
    inputs = _apart(expand_inputs(args.input), held_out) if reads else []
    if fraction and counts is not None:
        _check_fraction(args, fraction, counts, inputs)
    return Plan(base, trainer, counts_file, counts, fraction, held_out, inputs)


def _kept(path: Path | None) -> Counts | None:
    """The counts in a file; None if it is yet to be written."""
    if path is None:
        return None
    if path.exists():
        return Counts.load(str(path))
    check_writable(path.parent)
    return None


def _settle(args: argparse.Namespace, base: Tokenizer | None, counts: Counts | None) -> None:
    """Pattern and special tokens: those of what is extended; as given; those of the counts."""
    if base is not None:
        args.pattern, args.special = base.pat_str, list(base.special_tokens)
        return
    if args.chat:
        args.special = [*SPECIAL_TOKENS, *(t for t in args.special if t not in SPECIAL_TOKENS)]
    if counts is not None:
        args.special = args.special or counts.special_tokens
        if args.pattern is None and args.superwords_from is None:
            if counts.pat_str in map(_core.span_pattern, NAMES):
                raise ValueError(
                    f"--counts {args.counts}: it was made with --superwords-from; give that again, "
                    "or name another file to count again"
                )
            args.pattern = counts.pat_str
    args.pattern = "gpt2" if args.pattern is None else args.pattern


def _trainer(args: argparse.Namespace) -> BpeTrainer:
    """The trainer, and whether the vocabulary's size will do."""
    result = BpeTrainer(
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
    return result


def _check_counts(
    args: argparse.Namespace, trainer: BpeTrainer, counts: Counts, given: Sequence[str]
) -> None:
    """Raises unless the counts were made as this run would make them."""
    for option, flags, theirs, ours in (
        ("--pattern", ["--pattern"], shown(counts.pat_str), shown(trainer.pat_str)),
        (
            "--special",
            ["--chat", "--special"],
            " ".join(counts.special_tokens) or "none",
            " ".join(trainer.special_tokens) or "none",
        ),
    ):
        if theirs != ours:
            wrong = " and ".join(flag for flag in flags if flag in given)
            leave = f"leave out {wrong}, which is then as it was, or " if wrong else ""
            raise ValueError(
                f"--counts {args.counts}: it was made with {option} {theirs}, not {ours}; "
                f"{leave}name another file to count again"
            )


def _tell_unused(args: argparse.Namespace, fraction: float) -> None:
    """A note on flags that say what to count, where counts are there."""
    if args.input or args.max_chars or args.doc_cap:
        note = f"note: training on the counts in {args.counts}, whatever they were made from; "
        unused = "--input, --max-chars and --doc-cap are not used"
        if fraction:
            unused = "--input is for --held-out alone, --max-chars and --doc-cap are not used"
        tell(note + unused)


def _apart(files: list[InputFile], held_out: Sequence[InputFile]) -> list[InputFile]:
    """The files without those that are held out."""
    kept_apart = {file.path.resolve() for file in held_out}
    result = [file for file in files if file.path.resolve() not in kept_apart]
    if files and not result:
        raise ValueError("--held-out takes all files of --input: nothing is left to train on")
    return result


def _check_fraction(
    args: argparse.Namespace, fraction: float, counts: Counts, inputs: Sequence[InputFile]
) -> None:
    """Raises unless the documents to measure on can be read, and are not in the counts."""
    if counts.held_out < fraction:
        theirs = f"{counts.held_out:g} of the documents" if counts.held_out else "no documents"
        raise ValueError(
            f"--held-out {fraction:g}: the counts in {args.counts} were made with {theirs} held "
            "out; name held-out files instead, or another file for --counts"
        )
    if not inputs:
        raise ValueError(
            f"--held-out {fraction:g}: to measure on these documents, name the --input that "
            f"{args.counts} was made from; or leave --held-out out"
        )


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
