"""Encodes files to token shards, in a run that can be taken up again.

python -m scripts.tok_encode --tokenizer tokenizer --input corpus/ --out tokens
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bytemill import Tokenizer
from bytemill.cli import report
from bytemill.cli.command import EPILOG, check_out, exit_status
from bytemill.cli.progress import Progress
from bytemill.data.encode_files import SHARD_TOKENS
from bytemill.data.shard_run import STATE_NAME
from bytemill.data.shards import MANIFEST_NAME, Manifest


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m scripts.tok_encode",
        description="Encode text files to token shards. A run that was interrupted goes on when "
        "the same command is run again.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add("--tokenizer", required=True, metavar="DIR", help="a folder that tok_train has written")
    add(
        "--input",
        nargs="+",
        action="extend",
        required=True,
        metavar="PATH",
        help="files, folders or globs: .txt, .jsonl, .parquet, each also .gz or .zst; a file of "
        "another extension is read as plain text",
    )
    add("--out", required=True, metavar="DIR", help="the folder to write the shards to")
    add("--separator", metavar="TOKEN", help="a special token whose id is put at each document")
    add(
        "--separator-at",
        choices=("start", "end"),
        default="end",
        help="where in the document (default: %(default)s)",
    )
    add(
        "--val-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="the share of documents for validation, chosen by a hash of their text "
        "(default: %(default)s)",
    )
    add(
        "--shard-tokens",
        type=int,
        default=SHARD_TOKENS,
        metavar="N",
        help="a shard ends with the document that makes it this long (default: %(default)s)",
    )
    add(
        "--dtype",
        choices=("uint16", "uint32"),
        help="of the ids (default: the smaller one if the vocabulary allows)",
    )
    add("--threads", type=int, metavar="N", help="worker threads (default: all cores)")
    add(
        "--text-column",
        default="text",
        metavar="NAME",
        help="of .jsonl and .parquet (default: %(default)s)",
    )
    add(
        "--errors",
        choices=("strict", "replace"),
        default="strict",
        help="invalid UTF-8: fail, or read U+FFFD (default: %(default)s)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    finished = "the shards that were finished are kept; run the same command again to go on"
    return exit_status(lambda: run(args), finished)


def run(args: argparse.Namespace) -> None:
    """Encodes, and prints the summary."""
    out = Path(args.out)
    check_out(out)
    was_finished, was_begun = (out / MANIFEST_NAME).exists(), (out / STATE_NAME).exists()
    tokenizer = Tokenizer.load(args.tokenizer)
    began = time.perf_counter()
    with Progress("encode", "MB") as bar:
        manifest = tokenizer.encode_files(
            args.input,
            out,
            separator=args.separator,
            separator_at=args.separator_at,
            shard_tokens=args.shard_tokens,
            validation_fraction=args.val_fraction,
            dtype=args.dtype,
            text_column=args.text_column,
            errors=args.errors,
            num_threads=args.threads,
            progress=bar.update,
        )
    seconds = time.perf_counter() - began
    if was_finished:
        encoded = "this was done before"
    elif was_begun:
        encoded = f"the rest of {report.megabytes(manifest.n_bytes)} in {seconds:.2f} s"
    else:
        encoded = report.phase(seconds, manifest.n_bytes)
    print(report.rows([("encoded", encoded), *summary(manifest, out)]))


def summary(manifest: Manifest, out: Path) -> list[tuple[str, str]]:
    """What was made."""
    n_bytes = manifest.n_bytes
    table = []
    if peak := report.peak_memory():
        table.append(("peak memory", report.megabytes(peak)))
    table.append(
        ("compression", str(report.Compression(manifest.n_documents, n_bytes, manifest.n_tokens)))
    )
    for split, shards in manifest.splits.items():
        tokens, documents = sum(s.tokens for s in shards), sum(s.documents for s in shards)
        if shards or split == "train":
            counts = f"{tokens:,} tokens in {documents:,} documents, {len(shards):,} shards"
            table.append((split, f"{counts} of {manifest.dtype}"))
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    table.append(("fingerprint", manifest.fingerprint))
    table.append(("written", f"{out} ({report.megabytes(size)})"))
    return table


if __name__ == "__main__":
    sys.exit(main())
