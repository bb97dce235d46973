"""Encodes files to token shards, in a run that can be taken up again.

bytemill tok-encode --tokenizer tokenizer --input corpus/ --out tokens
"""

from __future__ import annotations

import argparse
import glob
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bytemill import Tokenizer
from bytemill._arguments import check_limit
from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, check_new, exit_status
from bytemill.cli.console import inputs, on_cluster
from bytemill.cli.progress import Progress
from bytemill.cli.vocabularies.given import add_tokenizer, read
from bytemill.data import expand_inputs
from bytemill.data.download.manifest import validation_files
from bytemill.data.encode_files import SHARD_TOKENS, check_fraction, check_separator, choose_dtype
from bytemill.data.readers import check_packages
from bytemill.data.shard_run import PARTS_NAME, STATE_NAME, ShardRun
from bytemill.data.shards import MANIFEST_NAME, SPLITS, Manifest


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Encode text files to token shards. A run that was interrupted goes on when "
        "the same command is run again; one that reads from stdin has to begin again.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add_tokenizer(result)
    inputs.add_input(result, required=True)
    add("--out", required=True, metavar="DIR", help="the folder to write the shards to")
    add(
        "--overwrite",
        action="store_true",
        help="begin again, in place of another run's shards that are in --out",
    )
    add(
        "--separator",
        metavar="TOKEN",
        help="a special token whose id is put at each document (default: none)",
    )
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
        help="a shard ends with the document that makes it N tokens long or longer (default: "
        "%(default)s)",
    )
    add(
        "--dtype",
        choices=("uint16", "uint32"),
        help="the type of an id (default: the smaller one if the vocabulary allows)",
    )
    add("--threads", type=int, metavar="N", help="worker threads (default: all cores)")
    on_cluster.add_ray(result)
    inputs.add_flags(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    out = Path(args.out)

    def interrupted() -> str:
        if (out / MANIFEST_NAME).exists():
            return f"all shards are in {out}"
        if not (out / STATE_NAME).exists():
            return "no shards were written"
        if "-" in args.input:
            return f"the shards in {out} are not complete; to begin again, add --overwrite"
        return f"the finished shards are kept in {out}; run the same command again to go on"

    return exit_status(lambda: run(args, out), interrupted)


def run(args: argparse.Namespace, out: Path) -> None:
    """Encodes, and prints the summary."""
    on_cluster.check_ray(args)
    was_finished, was_begun = (out / MANIFEST_NAME).exists(), (out / STATE_NAME).exists()
    is_ours = was_finished or was_begun
    # Whether stdin brings the same text again cannot be known.
    goes_on = is_ours and "-" not in args.input
    marks = (MANIFEST_NAME, STATE_NAME)
    check_new(out, overwrite=args.overwrite or goes_on, kind="shards", marks=marks)
    tokenizer = read(args.tokenizer)
    cluster = None if args.ray is None else on_cluster.connected(args)
    began = time.perf_counter()
    with inputs.named(args.input, args.format) as named, Progress("encode", "MB") as bar:
        paths, pinned = without_validation(named)
        if args.overwrite and is_ours:
            check(args, tokenizer, paths)
            remove_shards(out)
            was_finished = was_begun = False
        settings: dict[str, Any] = {
            "separator": args.separator,
            "separator_at": args.separator_at,
            "shard_tokens": args.shard_tokens,
            "validation_fraction": args.val_fraction,
            "dtype": args.dtype,
            "text_column": args.text_column,
            "errors": args.errors,
            "progress": bar.update,
        }
        if cluster is None:
            manifest = tokenizer.encode_files(paths, out, num_threads=args.threads, **settings)
        else:
            manifest = cluster.encode(paths, tokenizer, out, **settings)
    seconds = time.perf_counter() - began
    if was_finished:
        encoded = "this was done before"
    elif was_begun:
        encoded = f"the rest of {formatting.megabytes(manifest.n_bytes)} in {seconds:.2f} s"
    else:
        encoded = formatting.phase(seconds, manifest.n_bytes)
    print(formatting.rows([("encoded", encoded), *summary(manifest, out), *left_out(pinned)]))


def without_validation(names: Sequence[str]) -> tuple[list[str], list[Path]]:
    """What is to be encoded, and the files in it that downloads have pinned for validation: they
    are left out of folders and globs, and encoded where they are named themselves.

    Raises:
        ValueError: A folder or a glob holds nothing else.
    """
    paths, pinned = [], []
    for name in names:
        if Path(name).is_file() or (not Path(name).is_dir() and not glob.has_magic(name)):
            paths.append(name)
            continue
        files = [file.path for file in expand_inputs(name)]
        left = {path.resolve() for path in validation_files(files)}
        found = [path for path in files if path.resolve() in left]
        kept = [str(path) for path in files if path not in found]
        if found and not kept:
            raise ValueError(
                f"{name}: it holds only {found[0]}, which a download has pinned for validation; "
                "fetch more of it, or name that file to encode it"
            )
        paths += kept if found else [name]
        pinned += found
    return paths, pinned


def left_out(pinned: Sequence[Path]) -> list[tuple[str, str]]:
    """Says which files were not encoded."""
    told = [f"{path}, pinned for validation; to encode it, name it as --input" for path in pinned]
    return formatting.labelled("left out", told)


def check(args: argparse.Namespace, tokenizer: Tokenizer, paths: list[str]) -> None:
    """Raises for what `Tokenizer.encode_files` would refuse, before anything is removed for it."""
    check_packages(expand_inputs(paths))
    choose_dtype(tokenizer.vocabulary, args.dtype)
    check_separator(tokenizer.vocabulary, args.separator, args.separator_at)
    check_fraction(args.val_fraction)
    check_limit("shard_tokens", args.shard_tokens)
    check_limit("num_threads", args.threads)


def remove_shards(out: Path) -> None:
    """Removes what an encoding run has written to `out`, and nothing else.

    Raises:
        ValueError: Another process is writing there.
    """
    nothing = Manifest(fingerprint="", n_vocab=0, dtype="uint16", settings={}, inputs=[], splits={})
    with ShardRun(out, nothing).locked():
        # The manifest first: what is left without one is never taken for a whole.
        names = [MANIFEST_NAME, STATE_NAME]
        names += [
            f"{split}-{'[0-9]' * 5}{end}" for split in SPLITS for end in (".npy", ".docs.npy")
        ]
        names += [f".{split}-*.npy.part" for split in SPLITS]
        for name in names:
            for path in out.glob(name):
                path.unlink()
        shutil.rmtree(out / PARTS_NAME, ignore_errors=True)


def summary(manifest: Manifest, out: Path) -> list[tuple[str, str]]:
    """What was made."""
    n_bytes = manifest.n_bytes
    table = []
    if peak := formatting.peak_memory():
        table.append(("peak memory", formatting.megabytes(peak)))
    table.append(
        (
            "compression",
            str(formatting.Compression(manifest.n_documents, n_bytes, manifest.n_tokens)),
        )
    )
    for split, shards in manifest.splits.items():
        tokens, documents = sum(s.tokens for s in shards), sum(s.documents for s in shards)
        if shards or split == "train":
            in_all = (
                f"{formatting.count(tokens, 'token')} in {formatting.count(documents, 'document')}"
            )
            of_type = f"{formatting.count(len(shards), 'shard')} of {manifest.dtype}"
            table.append((split, f"{in_all}, {of_type}"))
    table.append(("fingerprint", manifest.fingerprint))
    return [*table, *formatting.labelled("written", written(manifest, out))]


def written(manifest: Manifest, out: Path) -> list[str]:
    """The files that make up the shards, with their sizes; the shards of a split in one line."""
    lines = [f"{out / MANIFEST_NAME} ({size_of(out / MANIFEST_NAME)})"]
    for shards in manifest.splits.values():
        if shards:
            first, last = out / shards[0].file, shards[-1].file
            names = f"{first}" if len(shards) == 1 else f"{first} to {last}, each"
            size = size_of(*(out / name for s in shards for name in (s.file, s.documents_file)))
            lines.append(f"{names} with its .docs.npy ({size})")
    return lines


def size_of(*files: Path) -> str:
    """How large files are together."""
    return formatting.megabytes(sum(path.stat().st_size for path in files))
