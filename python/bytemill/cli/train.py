"""Trains a language model on token shards; a run that was stopped goes on with --resume.

python -m scripts.train --data shards --tokenizer tokenizer --depth 4 --out runs/first
python -m scripts.train --out runs/first --resume
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bytemill.cli import report
from bytemill.cli.command import EPILOG, check_out, exit_status
from bytemill.cli.progress import Progress
from bytemill.lm.train import config as train_config
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.events import (
    Event,
    MemoryRanOut,
    Sampled,
    Saved,
    Started,
    Stepped,
    Validated,
    Warned,
)
from bytemill.lm.train.metrics import PLOT
from bytemill.lm.train.pretrain import CONFIG, Result, Trainer


def parser() -> argparse.ArgumentParser:
    """The command line: a flag for each field of `TrainConfig`."""
    result = argparse.ArgumentParser(
        prog="python -m scripts.train",
        description="Train a language model on token shards. Ctrl-C saves; --resume goes on, from "
        "there or from the last checkpoint, and ends with the same weights.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--config", metavar="FILE", help="a JSON file of these options, like RUN/config.json")
    add("--resume", action="store_true", help="go on with the run in --out")
    kinds = train_config.hints()
    for field in train_config.options():
        flag = "--" + field.name.replace("_", "-")
        plain, choices, optional = train_config.split_type(kinds[field.name])
        text = field.metadata["help"].replace("%", "%%")
        if field.default is not None and "default" not in text and field.name not in _REQUIRED:
            text += f" (default: {str(field.default).lower() or 'empty'})"
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text, "dest": field.name}
        if plain is bool:
            add(flag, action=argparse.BooleanOptionalAction, **common)
        elif choices:
            add(flag, choices=choices, **common)
        else:
            add(flag, type=_reader(plain, optional), metavar=_METAVARS[plain], **common)
    return result


_REQUIRED = ("data", "out")
_METAVARS = {str: "TEXT", int: "N", float: "X"}


def _reader(plain: type, optional: bool) -> Callable[[str], Any]:
    """Reads a flag's value; "none" stands for None where that may be."""

    def read(text: str) -> Any:
        return None if optional and text == "none" else plain(text)

    read.__name__ = {str: "text", int: "integer", float: "number"}[plain]
    return read


def read_config(args: argparse.Namespace) -> TrainConfig:
    """The configuration: a file's fields, and flags over them.

    With --resume and no --config it is the run's own.
    """
    flags = vars(args).copy()
    file, resume = flags.pop("config"), flags.pop("resume")
    own = Path(flags.get("out", "")) / CONFIG
    if file is None and resume and "out" in flags and (own.is_file() or "data" not in flags):
        file = own
    fields = train_config.read_fields(file) if file is not None else {}
    merged = {**fields, **flags}
    for name in _REQUIRED:
        if name not in merged:
            raise ValueError(f"--{name} is missing")
    return TrainConfig.from_dict(merged, str(file) if fields else "flags")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    results: list[Result] = []
    status = exit_status(lambda: results.append(run(args)), "nothing was saved since the last save")
    return 130 if not status and not results[0].is_finished else status


def run(args: argparse.Namespace) -> Result:
    """Trains, and prints what happens."""
    config = read_config(args)
    check_out(Path(config.out))
    with Progress("train", "steps") as bar:
        trainer = Trainer(config, on_event=Screen(bar), resume=args.resume)
        result = trainer.run()
    if not result.is_finished:
        where = f"saved at step {result.step}; to go on, add --resume"
        print(f"interrupted: {where}", file=sys.stderr)
    elif result.checkpoint is not None:
        print(report.rows(summary(config, result)))
    return result


def summary(config: TrainConfig, result: Result) -> list[tuple[str, str]]:
    """What was reached, and where it is."""
    table = []
    if result.validation is not None:
        found = result.validation
        table.append(("validation", figures(found.loss, found.bits_per_byte)))
    plot = Path(config.out) / PLOT
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

    def __call__(self, event: Event) -> None:
        """Shows one."""
        if isinstance(event, Stepped):
            note = f"loss {event.loss:.3f}  {event.tokens_per_second:,.0f} tokens/s"
            if event.mfu is not None:
                note += f"  {event.mfu:.1%} MFU"
            self._bar.update(event.step, event.steps, note)
        elif isinstance(event, Started):
            self._bar.say(report.rows(overview(event)))
            self._bar.start(event.step)
        elif isinstance(event, Validated):
            best = ", the best so far" if event.is_best else ""
            text = figures(event.loss, event.bits_per_byte)
            self._bar.say(f"step {event.step:,}: validation {text}{best}")
        elif isinstance(event, Sampled):
            self._bar.say(f"step {event.step:,}: sample {event.text!r}")
        elif isinstance(event, Saved):
            self._bar.say(f"step {event.step:,}: saved {event.path}")
        elif isinstance(event, MemoryRanOut):
            self._bar.say(f"step {event.step:,}: out of memory; {event.rows} rows at a time now")
        elif isinstance(event, Warned):
            self._bar.say(f"note: {event.message}")


def overview(event: Started) -> list[tuple[str, str]]:
    """What is to be done."""
    plan, model = event.plan, event.plan.model
    shape = f"{model.n_layer} layers, width {model.d_model}, {model.n_head} heads"
    per_step = f"{plan.batch_size} x {model.context_length} = {plan.tokens_per_step:,} tokens"
    flops = plan.flops_per_token * plan.tokens
    rates = ", ".join(
        f"{name} {getattr(plan.optimizer, name + '_lr'):.3g}"
        for name in ("embedding", "head", "matrix", "vector")
    )
    table = [
        ("model", f"{plan.n_params:,} parameters: {shape}, vocabulary {model.vocab_size:,}"),
        ("data", f"{event.train_tokens:,} tokens, {event.val_tokens:,} for validation"),
        ("batch", f"{per_step}, {event.micro_batch_size} rows at a time"),
        ("horizon", f"{plan.steps:,} steps, {plan.tokens:,} tokens, {flops:.2e} FLOPs"),
        ("learning", f"{plan.optimizer.kind}, rates {rates}"),
        ("device", f"{event.device}, {event.dtype}{', compiled' if event.is_compiled else ''}"),
    ]
    return [*table, ("goes on", f"from step {event.step:,}")] if event.step else table


if __name__ == "__main__":
    sys.exit(main())
