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
from bytemill.cli.demo import assistant as stages
from bytemill.cli.demo import questions
from bytemill.cli.demo.model import compare, train_model, write_samples
from bytemill.cli.demo.sizes import CPU, GPU, QUICK, Size
from bytemill.cli.demo.tokenizer import Sources, encode_shards, source_files, train_tokenizer
from bytemill.data.shard_run import STATE_NAME
from bytemill.data.shards import MANIFEST_NAME

# What is made, and the files by which each is known again.
MADE = {
    "tokenizer": {"bytemill.json"},
    "shards": {MANIFEST_NAME, STATE_NAME},
    "model": {"config.json"},
    "words": {"seen.txt"},
    "sft": {"config.json"},
    "rl": {"config.json"},
    "control": {"config.json"},
}


def parser(prog: str = "python -m scripts.demo") -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="The whole way, from the source of Python's standard library to a small model "
        "that writes, and on to an assistant that answers. Ctrl-C saves; --resume goes on.",
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
    add("--resume", action="store_true", help="go on with the demo in --out")
    size = result.add_mutually_exclusive_group()
    size.add_argument("--gpu", action="store_true", help="a model that is worth a GPU")
    size.add_argument("--quick", action="store_true", help="seconds; the model learns little")
    add(
        "--steps",
        type=int,
        metavar="N",
        help="how long to train the base model; it and all stages then take what time they need "
        f"(default: {CPU.steps}, and each as many as are made in a few minutes)",
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
    if args.resume and not out.is_dir():
        raise ValueError(f"--resume: there is no {out} to go on with; leave it out to begin")
    if not args.resume:
        clear(out)
    sources = source_files(most=size.most_files)
    tokenizer = train_tokenizer(sources, size.vocab_size, out / "tokenizer")
    encode_shards(tokenizer, sources, out / "shards")
    bits_per_byte = train_model(size, out, args.steps, args.seed, resume=args.resume)
    compare(size, out, bits_per_byte)
    write_samples(out, args.seed)
    teach(size, sources, out, args.seed, timed=args.steps is None)
    minutes, seconds = divmod(round(time.perf_counter() - began), 60)
    print(f"all of it took {minutes}:{seconds:02}; to go on from there:\n")
    base, assistant, page = (shlex.quote(str(out / name)) for name in ("model", "rl", "report"))
    print(f"    {command('chat')} {assistant}")
    print(f"    {command('report')} {assistant} --out {page}")
    print(f"    {command('generate')} --model {base} --prompt 'def test'")


def teach(size: Size, sources: Sources, out: Path, seed: int, *, timed: bool) -> None:
    """The stages after the base model, and how the model of each answers.

    Args:
        size: How long they take.
        sources: Where words come from.
        out: The demo's folder.
        seed: Of the stages.
        timed: Whether their time is limited.
    """
    words = stages.write_words(sources, out / "words")
    questions.examine(size, out / "model", words)
    stages.converse(size, out, words, seed, timed=timed)
    questions.examine(size, out / "sft", words)
    stages.reinforce(size, out, words, seed, timed=timed)
    questions.examine(size, out / "rl", words)
    stages.replay(size, out, words, seed)
    questions.examine(size, out / "control", words)
    print(f"\n10. Questions that no model was trained on, % answered rightly of {size.items}\n")
    print(questions.table(out))
    print("\n11. A conversation\n")
    questions.write_exchanges(size, out / "rl")


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
