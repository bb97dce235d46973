"""Fetches a dataset's files, whole and checked; a run that was interrupted goes on.

bytemill download climbmix --shards 8 --out corpus
bytemill download 'https://host/shard_{00000..00099}.parquet' --out corpus
"""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, check_out, exit_status
from bytemill.cli.progress import Progress
from bytemill.data.download import DownloadManifest, download
from bytemill.data.download.manifest import MANIFEST_NAME
from bytemill.data.download.sources import KNOWN


def parser() -> argparse.ArgumentParser:
    """The command line."""
    width = max(map(len, KNOWN))
    known = "\n".join(f"  {name:<{width}}  {each.summary}" for name, each in KNOWN.items())
    result = argparse.ArgumentParser(
        description="Fetch the files of a dataset, several at a time. Sizes and SHA-256 are "
        "checked; a file is there whole or not at all. A run that was interrupted goes on when the "
        "same command is run again.",
        epilog=f"datasets with a name of their own:\n{known}\n\n{textwrap.fill(EPILOG, 78)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        "name",
        metavar="NAME",
        help="a name from below; hf:OWNER/NAME, a dataset of the Hugging Face hub, its parquet "
        "files (also hf:OWNER/NAME:FOLDER and hf:OWNER/NAME@REVISION); or an address with a range "
        "of numbers, like 'https://host/shard_{00000..00099}.parquet'",
    )
    add("--out", required=True, metavar="DIR", help="the folder to write the files to")
    add(
        "--shards",
        type=int,
        metavar="N",
        help="fetch the first N files to train on, besides the one to validate on (default: all)",
    )
    add(
        "--validation",
        metavar="FILE",
        help="the file to validate on (default: the dataset's known one; a repository's first of a "
        "validation or test split; or else the last of all)",
    )
    add(
        "--checksums",
        metavar="FILE",
        help="SHA-256 of the files, as sha256sum writes them, where the server tells none",
    )
    add(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="files at a time (default: %(default)s)",
    )
    add("--verify", action="store_true", help="also read the files that are there, to check them")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    kept = f"what has come is kept in {args.out}; run the same command again to go on"
    return exit_status(lambda: run(args), kept)


def run(args: argparse.Namespace) -> None:
    """Fetches, and prints the summary."""
    out = Path(args.out)
    check_out(out)
    before = DownloadManifest.load(out)
    held = set(before.files) if before else set()
    began = time.perf_counter()
    with Progress("download", "MB") as bar:
        manifest = download(
            args.name,
            out,
            shards=args.shards,
            validation=args.validation,
            checksums=args.checksums,
            workers=args.workers,
            verify=args.verify,
            progress=bar.update,
        )
    seconds = time.perf_counter() - began
    new = [file for name, file in manifest.files.items() if name not in held]
    fetched = formatting.phase(seconds, sum(file.size for file in new))
    table = [("fetched", f"{len(new):,} files, {fetched}" if new else "nothing was missing")]
    total = sum(file.size for file in manifest.files.values())
    table.append(("in the folder", f"{len(manifest.files):,} files, {formatting.megabytes(total)}"))
    if manifest.validation is not None:
        table.append(("validation", str(out / manifest.validation)))
    table.append(("record", str(out / MANIFEST_NAME)))
    print(formatting.rows(table))
