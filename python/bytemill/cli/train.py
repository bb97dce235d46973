"""Trains a language model on token shards; a run that was stopped goes on with --resume.

bytemill train --data shards --tokenizer tokenizer --depth 4 --out runs/first
bytemill train --out runs/first --resume
torchrun --nproc-per-node 2 -m bytemill train --data shards --depth 4 --out runs/first
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, Status, check_out, exit_status
from bytemill.cli.console.parser import did_you_mean
from bytemill.cli.console.streams import tell
from bytemill.cli.flags import add_flags, given, read_tree
from bytemill.cli.progress import Progress, duration
from bytemill.lm.device.runtime import choose_device
from bytemill.lm.distributed.group import FailedElsewhereError, device_of, joined
from bytemill.lm.distributed.place import Place
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.train import NonFiniteLossError, Result, TrainConfig, Trainer
from bytemill.lm.train.config import RunTree
from bytemill.lm.train.events import (
    Event,
    Interrupted,
    MemoryRanOut,
    RowsDone,
    Sampled,
    Saved,
    Stepped,
    Timed,
    Validated,
    Warned,
)
from bytemill.lm.train.plan import Plan
from bytemill.lm.train.plot import PLOT
from bytemill.lm.train.pretrain import CONFIG
from bytemill.lm.train.start.started import Started
from bytemill.lm.train.steps.world import ALONE, World

C = TypeVar("C", bound=RunTree)

LONG_SECONDS: Final = 60.0
NOT_SAVED: Final = "nothing was saved since the last save"
PARTS: Final = {
    "data": "data",
    "model": "model",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "run": "run",
}


def parser(prog: str = "python -m scripts.train") -> argparse.ArgumentParser:
    """The command line: a flag for each field of `TrainConfig`."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="Train a language model on token shards. Ctrl-C saves; --resume goes on, from "
        "there or from the last checkpoint, and ends with the same weights.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--config", metavar="FILE", help="a JSON file of these options, like RUN/config.json")
    add("--resume", action="store_true", help="go on with the run in --out")
    add_flags(result, TrainConfig, PARTS)
    return result


def read_config(args: argparse.Namespace, tree: type[C], required: str) -> C:
    """The configuration: a file's fields, and flags over them.

    With --resume and no --config it is the run's own.

    Args:
        args: What was given.
        tree: What it is to be.
        required: A field that is given where the run's own file is not asked for.

    Raises:
        FileNotFoundError: With --resume, there is no folder --out; or there is no --config.
        TypeError, ValueError: As `read_tree`.
    """
    flags = given(args, tree)
    file = args.config
    if args.resume and "out" in flags:
        check_there(Path(flags["out"]))
    own = Path(flags.get("out", "")) / CONFIG
    is_own = own.is_file() or required not in flags
    if file is None and args.resume and "out" in flags and is_own:
        file = str(own)
    return read_tree(tree, file, flags)


def check_there(out: Path) -> None:
    """FileNotFoundError if there is no folder `out` that a run could be resumed in."""
    if out.exists():
        return
    beside = [path.parent.name for path in out.parent.glob(f"*/{CONFIG}")]
    near = did_you_mean(out.name, beside)
    raise FileNotFoundError(
        f"--out {out}: there is no such folder, so no run to resume{near}; to begin a run there, "
        "leave out --resume"
    )


def main(argv: Sequence[str] | None = None, prog: str = "python -m scripts.train") -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return launched(lambda: run(args))


def launched(work: Callable[[], Result]) -> int:
    """Trains, as one process or as one of those that torchrun has started; the exit status."""
    rank = os.environ.get("RANK", "0")
    is_other = rank != "0"

    def worked() -> int | None:
        try:
            result = work()
        except FailedElsewhereError:
            return Status.BAD_INPUT  # who failed tells
        except NonFiniteLossError:
            if is_other:
                return Status.BAD_INPUT  # it is the same on all ranks
            raise
        return None if result.is_finished else Status.INTERRUPTED

    return exit_status(worked, NOT_SAVED, f"rank {rank}: " if is_other else "")


def run(args: argparse.Namespace) -> Result:
    """Trains, as one process or as one of those that torchrun has started."""
    return in_ranks(args, TrainConfig, "data", train)


def in_ranks(
    args: argparse.Namespace,
    tree: type[C],
    required: str,
    train: Callable[[C, bool, World], Result],
) -> Result:
    """Trains in the ranks that torchrun has started, or alone.

    Args:
        args: What was given.
        tree, required: As for `read_config`.
        train: Given the configuration, whether to resume, and the ranks.
    """
    place = Place.here()
    # torchrun starts a run that has failed anew, with the same words.
    args.resume = args.resume or place.restarts > 0
    config = read_config(args, tree, required)
    if place.rank == 0:
        check_out(Path(config.run.out))
    if place.size == 1:
        return train(config, args.resume, ALONE)
    device = choose_device(device_of(config.run.device, place))
    with joined(device) as group:
        return train(config, args.resume, Ranks(group))


def train(config: TrainConfig, resume: bool, world: World) -> Result:
    """Trains, and prints what happens on the rank that leads."""
    if not world.leads:
        return Trainer(config, resume=resume, world=world).run()
    with Progress("train", "steps") as bar:
        trainer = Trainer(config, on_event=Screen(bar), resume=resume, world=world)
        result = trainer.run()
    told(config, result)
    return result


def told(config: RunTree, result: Result) -> None:
    """Prints what a run came to."""
    if not result.is_finished:
        where = f"saved at step {result.step}; to go on, add --resume"
        tell(f"interrupted: {where}")
    elif result.checkpoint is not None:
        print(formatting.rows(summary(config, result)))


def summary(config: RunTree, result: Result) -> list[tuple[str, str]]:
    """What was reached, and where it is."""
    table = []
    if result.validation is not None:
        found = result.validation
        table.append(("validation", figures(found.loss, found.bits_per_byte)))
    plot = Path(config.run.out) / PLOT
    if plot.exists():
        table.append(("loss curves", str(plot)))
    table.append(("checkpoint", str(result.checkpoint)))
    return table


def figures(loss: float, bits_per_byte: float | None) -> str:
    """A validation in words."""
    text = f"loss {loss:.4f}"
    return text if bits_per_byte is None else f"{text}, {bits_per_byte:.4f} bits per byte"


class Screen:
    """Shows a run's events: steps as a bar, the others as lines."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._note = ""

    def __call__(self, event: Event) -> None:
        """Shows one; to a terminal that has gone, as after SIGHUP, nothing: the run is to save."""
        try:
            self._show(event)
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    def _show(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self._note = f"loss {event.loss:.3f}  {event.tokens_per_second:,.0f} tokens/s"
            if event.mfu is not None:
                self._note += f"  {event.mfu:.1%} MFU"
            self._bar.update(event.step, event.steps, self._note, event.seconds_left)
        elif isinstance(event, RowsDone):
            note = (
                f"step {event.step:,}: {event.rows} of {formatting.count(event.batch_size, 'row')}"
            )
            note = f"{self._note}  {note}" if self._note else note
            self._bar.update(event.step - 1, event.steps, note, event.seconds_left or None)
        elif isinstance(event, Interrupted):
            self._interrupted(event.presses)
        elif isinstance(event, Started):
            self._bar.say(formatting.rows(self._overview(event)))
        elif isinstance(event, Timed):
            left = duration(event.seconds_left)
            self._bar.say(f"step {event.step:,}: {left} left, as the first steps show")
        else:
            self._bar.say(self._line(event))

    def _overview(self, event: Started) -> list[tuple[str, str]]:
        return overview(event)

    def _line(self, event: Event) -> str:
        return line(event)

    def _interrupted(self, presses: int) -> None:
        """Answers Ctrl-C; called by a thread of its own."""
        if presses == 1:
            self._bar.warn("finishing this step; press again to stop now")
            return
        # Python ends the program as soon as torch returns to it. That can take long.
        timer = threading.Timer(STOP_SECONDS, _end)
        timer.daemon = True
        timer.start()


STOP_SECONDS: Final = 1.5
"""After a second Ctrl-C the program ends in any case; checkpoints are whole at any moment."""


def _end() -> None:
    tell(f"interrupted: {NOT_SAVED}")
    os._exit(130)


def line(event: Event) -> str:
    """What is said of an event that is told seldom."""
    if isinstance(event, Validated):
        best = ", the best so far" if event.is_best else ""
        text = figures(event.loss, event.bits_per_byte)
        return f"step {event.step:,}: validation {text}{best}"
    if isinstance(event, Sampled):
        return f"step {event.step:,}: sample {event.text!r}"
    if isinstance(event, Saved):
        return f"step {event.step:,}: saved {event.path}"
    if isinstance(event, MemoryRanOut):
        rows = formatting.count(event.rows, "row")
        return f"step {event.step:,}: out of memory; {rows} at a time now"
    if isinstance(event, Warned):
        return f"note: {event.message}"
    return str(event)


def overview(event: Started) -> list[tuple[str, str]]:
    """What is to be done."""
    plan, model = event.plan, event.plan.model
    layers, heads = formatting.count(model.n_layer, "layer"), formatting.count(model.n_head, "head")
    shape = f"{layers}, width {model.d_model}, {heads}"
    table = [
        ("model", f"{plan.n_params:,} parameters: {shape}, vocabulary {model.vocab_size:,}"),
        ("data", f"{event.train_tokens:,} tokens, {event.val_tokens:,} for validation"),
        *plan_rows(plan, event.rates, event.micro_batch_size),
        ("epochs", f"{formatting.figure(event.epochs, 2)}: how often the data is read"),
        ("device", f"{event.device}, {event.dtype}{', compiled' if event.is_compiled else ''}"),
        *time_rows(event.seconds),
    ]
    return [*table, ("goes on", f"from step {event.step:,}")] if event.step else table


def time_rows(seconds: float) -> list[tuple[str, str]]:
    """How long a run will take, where that is long: in short ones much else than the arithmetic
    that the estimate counts takes its time. `Timed` tells what the first steps show."""
    if seconds <= LONG_SECONDS:
        return []
    return [("time", f"about {duration(seconds)}, estimated from the device's speed")]


def plan_rows(
    plan: Plan,
    rates: dict[str, float],
    micro_batch_size: int | None = None,
    filled: float = 1.0,
) -> list[tuple[str, str]]:
    """A plan's batch, horizon and learning rates; these as they are used.

    Args:
        plan: What is planned.
        rates: By the names of the optimizers' groups.
        micro_batch_size: Rows at a time.
        filled: Share of the rows that is not padding: of so much is the horizon.
    """
    batch = f"{plan.batch_size} x {plan.model.context_length} = {plan.tokens_per_step:,} tokens"
    if filled < 1:
        batch += f", about {1 - filled:.1%} of them padding"
    if micro_batch_size is not None:
        batch += f", {formatting.count(micro_batch_size, 'row')} at a time"
    tokens = round(plan.tokens * filled)
    flops = plan.flops_per_token * tokens
    used = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    return [
        ("batch", batch),
        (
            "horizon",
            f"{formatting.count(plan.steps, 'step')}, {'about ' if filled < 1 else ''}"
            f"{formatting.count(tokens, 'token')}, "
            f"{formatting.figure(flops)} FLOPs",
        ),
        ("learning", f"{plan.optimizer.kind}, rates used: {used}"),
        ("scaling", scaling(plan)),
    ]


def scaling(plan: Plan) -> str:
    """What the default learning rates were multiplied by."""
    by_width = f"AdamW's defaults x {plan.width_scale:.3g} for the width"
    by_batch = f"all defaults x {plan.batch_scale:.3g} for the batch"
    decay = "" if plan.decay_scale == 1 else f", the decay x {plan.decay_scale:.3g}"
    return f"{by_width}, {by_batch}{decay}; given rates stay"


if __name__ == "__main__":
    sys.exit(main())
