"""The demo's command line and its parts, one after the other."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bytemill.cli.command import EPILOG, check_out, exit_status
from bytemill.cli.demo.model import CPU, GPU, QUICK, compare, train_model, write_samples
from bytemill.cli.demo.tokenizer import encode_shards, source_files, train_tokenizer
from bytemill.data.shard_run import STATE_NAME
from bytemill.data.shards import MANIFEST_NAME

# What is made, and the files by which each is known again.
MADE = {
    "tokenizer": {"bytemill.json"},
    "shards": {MANIFEST_NAME, STATE_NAME},
    "model": {"config.json"},
}


def parser(prog: str = "python -m scripts.demo") -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="The whole way, from the source of Python's standard library to a small model "
        "that writes.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = result.add_argument
    add(
        "--out",
        default="runs/demo",
        metavar="DIR",
        help="what an earlier demo made there is replaced (default: %(default)s)",
    )
    size = result.add_mutually_exclusive_group()
    size.add_argument("--gpu", action="store_true", help="a model that is worth a GPU")
    size.add_argument("--quick", action="store_true", help="seconds; the model learns little")
    add(
        "--steps",
        type=int,
        metavar="N",
        help="how long to train, whatever time that takes (default: 600, or as many as are made "
        "in four minutes)",
    )
    add("--seed", type=int, default=0, metavar="N", help="seed of the model (default: %(default)s)")
    return result


def main(argv: Sequence[str] | None = None, prog: str = "python -m scripts.demo") -> int:
    """Runs the demo; returns the exit status."""
    args = parser(prog).parse_args(argv)
    return exit_status(lambda: run(args), "the demo was not finished")


def run(args: argparse.Namespace) -> None:
    """One part after the other."""
    began = time.perf_counter()
    out = Path(args.out)
    check_out(out)
    size = GPU if args.gpu else QUICK if args.quick else CPU
    if args.steps is not None and args.steps < 1:
        raise ValueError(f"--steps {args.steps}: it must be at least 1")
    clear(out)
    sources = source_files(most=size.most_files)
    tokenizer = train_tokenizer(sources, size.vocab_size, out / "tokenizer")
    encode_shards(tokenizer, sources, out / "shards")
    bits_per_byte = train_model(size, out, args.steps, args.seed)
    compare(size, out, bits_per_byte)
    write_samples(out, args.seed)
    minutes, seconds = divmod(round(time.perf_counter() - began), 60)
    print(f"all of it took {minutes}:{seconds:02}; to go on from there:\n")
    model = shlex.quote(str(out / "model"))
    print(f"    {command('generate')} --model {model} --prompt 'def test'")


def command(name: str) -> str:
    """What starts the subcommand `name` when it is pasted into the shell that this was started by.

    That is the program `bytemill` where it is the one of this Python, and else this Python itself,
    by the path from the current folder if it lies below: a clone's .venv need not be activated.
    """
    own = Path(sys.executable).with_name("bytemill")
    found = shutil.which("bytemill")
    if found and Path(found).absolute() == own.absolute():
        return f"bytemill {name}"
    if own.is_file():
        return f"{_shown(own)} {name}"
    return f"{_shown(Path(sys.executable))} -m bytemill {name}"


def _shown(program: Path) -> str:
    path, here = program.absolute(), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def clear(out: Path) -> None:
    """Removes what an earlier demo made.

    Raises:
        ValueError: A folder of such a name is not one that a demo made.
    """
    for name, marks in MADE.items():
        folder = out / name
        if not folder.exists():
            continue
        there = {path.name for path in folder.iterdir()}
        if there and not there & marks:
            raise ValueError(f"--out {out}: {folder} is not a demo's; choose another folder")
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
