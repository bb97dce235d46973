"""Trains many models that differ in some fields; ends with one table and one plot.

bytemill sweep --config base.json --vary matrix_lr=0.01,0.02 --vary n_layer=2,4 --out sweeps/first
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bytemill import files
from bytemill.cli.command import EPILOG, Status, check_out, exit_status
from bytemill.cli.console.parser import did_you_mean
from bytemill.cli.console.streams import tell
from bytemill.cli.flags import add_flags, flag_of, given, reader
from bytemill.cli.progress import Progress, duration
from bytemill.cli.train import PARTS, Screen
from bytemill.lm.settings import fault, word
from bytemill.lm.settings_tree import Leaf, flat_fields, leaves, read_parts
from bytemill.lm.train import TrainConfig
from bytemill.lm.train.plot import PLOT, plot
from bytemill.lm.train.sweep import RESULTS, Outcome, Variant, check, ranked, sweep, variants

_BOOLS: Final = {"true": True, "on": True, "false": False, "off": False}


def parser(prog: str = "python -m scripts.sweep") -> argparse.ArgumentParser:
    """The command line: that of `train`, and what is varied."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="Train a model for each combination of some fields' values, one after another. "
        "Runs that are done are known by their whole configuration and not made again, so the same "
        "command goes on after Ctrl-C or a kill. --out gets a folder for each run, "
        f"{RESULTS} and {PLOT}.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = result.add_argument
    add(
        "--vary",
        action="append",
        required=True,
        metavar="NAME=VALUES",
        help="a field, by the name of its flag, and the values that it takes: "
        "matrix_lr=0.01,0.02 or schedule=linear,cosine; given more than once: all combinations",
    )
    add("--config", metavar="FILE", help="a JSON file of the options below, like RUN/config.json")
    add_flags(result, TrainConfig, PARTS)
    return result


def main(argv: Sequence[str] | None = None, prog: str = "python -m scripts.sweep") -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return exit_status(lambda: run(args), "the run that was being made; the same command goes on")


def run(args: argparse.Namespace) -> int:
    """Makes the runs, and shows what they came to."""
    fields = given(args, TrainConfig)
    if args.config is not None:
        fields = {
            **flat_fields(TrainConfig, read_parts(TrainConfig, args.config), args.config)
        } | fields
    vary = read_vary(args.vary)
    known = leaves(TrainConfig)
    missing = [n for n, leaf in known.items() if leaf.is_required and n not in {*fields, *vary}]
    if missing:
        raise ValueError(f"{', '.join(map(flag_of, missing))}: missing")
    out = Path(fields["out"])
    runs = variants(fields, vary, out)
    check_out(out)
    check(runs)
    outcomes: list[Outcome] = []
    with Progress("sweep", "steps") as bar:

        def begun(number: int, one: Variant, outcome: Outcome | None) -> None:
            state = "" if outcome is None else ": done before"
            bar.say(f"run {number + 1} of {len(runs)}: {one.name}{state}")

        for outcome in sweep(runs, on_run=begun, on_event=Screen(bar)):
            outcomes.append(outcome)
            if outcome.diverged is not None:
                bar.say(f"note: diverged: {outcome.diverged}")
    if len(outcomes) < len(runs):
        done = f"{len(outcomes)} of {len(runs)} runs are done, the next one is saved"
        tell(f"interrupted: {done}; the same command goes on")
        return Status.INTERRUPTED
    best_first = ranked(outcomes)
    rows = [dataclasses.asdict(outcome) for outcome in best_first]
    files.write_bytes(out / RESULTS, (json.dumps(rows, indent=1) + "\n").encode())
    print(table(best_first, list(vary)))
    drawn = plot([outcome.run for outcome in outcomes], out / PLOT)
    if drawn is not None:
        print(f"loss curves: {drawn}")
    return Status.DONE


def read_vary(words: Sequence[str]) -> dict[str, list[Any]]:
    """The fields of --vary with their values, checked.

    Raises:
        TypeError, ValueError: There is no such field, or a value is not one of its.
    """
    known = leaves(TrainConfig)
    vary: dict[str, list[Any]] = {}
    for text in words:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals:
            raise ValueError(f"--vary {text!r}: give a field and its values, as in 'n_layer=2,4'")
        if name not in known:
            raise ValueError(
                f"--vary {text!r}: there is no field {name}{did_you_mean(name, known)}"
            )
        if name in vary:
            raise ValueError(
                f"--vary {text!r}: {name} is varied twice; give all its values at once"
            )
        vary[name] = [_value(known[name], part.strip(), text) for part in values.split(",")]
    return vary


def _value(leaf: Leaf, text: str, given_as: str) -> Any:
    try:
        if leaf.kind.plain is bool:
            value: Any = _BOOLS[text.lower()]
        else:
            value = reader(leaf)(text)
    except (KeyError, ValueError):
        kind = {bool: "true or false", int: "an integer", float: "a number"}[leaf.kind.plain]
        raise ValueError(f"--vary {given_as!r}: {text!r} must be {kind}") from None
    if error := fault(leaf.field, leaf.kind, value):
        raise type(error)(f"--vary {given_as!r}: {text!r}: {error}")
    return value


def table(outcomes: Sequence[Outcome], names: Sequence[str]) -> str:
    """A line for each run, in columns."""
    head = [*names, "parameters", "steps", "time", "loss", "val loss", "bits per byte"]
    lines = [head]
    for outcome in outcomes:
        figures = (outcome.loss, outcome.val_loss, outcome.val_bpb)
        lines.append(
            [word(outcome.fields[name]) for name in names]
            + [f"{outcome.n_params:,}", f"{outcome.steps:,}", duration(outcome.seconds)]
            + [
                "diverged" if outcome.diverged else "-" if x is None else f"{x:.4f}"
                for x in figures
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
