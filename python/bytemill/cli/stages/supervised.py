"""What the programs of the stages have in common, and how mid-training and SFT show themselves."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from bytemill.cli import formatting
from bytemill.cli.command import EPILOG
from bytemill.cli.flags import add_flags
from bytemill.cli.progress import Progress
from bytemill.cli.train import Screen, in_ranks, line, plan_rows, time_rows, told
from bytemill.lm.stages import Asked, StageStarted
from bytemill.lm.stages.config import NOT_OF_A_STAGE, StageTree
from bytemill.lm.train import Result
from bytemill.lm.train.events import Event
from bytemill.lm.train.run import Run
from bytemill.lm.train.start.started import Started
from bytemill.lm.train.steps.world import World

PARTS: Final = {
    "data": "data",
    "schedule": "schedule",
    "optimizer": "optimizer",
    "run": "run",
}
_PACKED: Final = {
    "single": "one conversation each, padded",
    "best-fit": "whole conversations that fit best, padded",
    "stream": "cut from one stream of conversations",
}


def parser_of(
    prog: str,
    description: str,
    tree: type[StageTree],
    left_out: tuple[str, ...] = (),
    parts: dict[str, str] = PARTS,
) -> argparse.ArgumentParser:
    """The command line: a flag for each field of the stage's configuration, but those left out."""
    result = argparse.ArgumentParser(
        prog=prog, description=description, epilog=EPILOG, allow_abbrev=False
    )
    add = result.add_argument
    add("--config", metavar="FILE", help="a JSON file of these options, like RUN/config.json")
    add("--resume", action="store_true", help="go on with the run in --out")
    add_flags(result, tree, parts, (*NOT_OF_A_STAGE, *left_out))
    return result


def trained(
    name: str,
    args: argparse.Namespace,
    tree: type[Any],
    stage: Callable[..., Run[Any]],
    screen: Callable[[Progress], Screen] | None = None,
) -> Result:
    """Trains, and prints what happens.

    Args:
        name: The program's.
        args: What was given.
        tree: The stage's configuration.
        stage: What makes its run.
        screen: What shows its events; `StageScreen` if None.
    """

    def train(config: Any, resume: bool, world: World) -> Result:
        if not world.leads:
            return stage(config, resume=resume, world=world).run()
        with Progress(name, "steps") as bar:
            made = stage(config, on_event=(screen or StageScreen)(bar), resume=resume, world=world)
            result = made.run()
        told(config, result)
        return result

    return in_ranks(args, tree, "init_from", train)


class StageScreen(Screen):
    """Shows a stage's events."""

    def _overview(self, event: Started) -> list[tuple[str, str]]:
        return overview(event) if isinstance(event, StageStarted) else super()._overview(event)

    def _line(self, event: Event) -> str:
        if isinstance(event, Asked):
            found = ", ".join(f"{name} {score:.1%}" for name, score in event.scores.items())
            return f"step {event.step:,}: asked {found}"
        return line(event)


def overview(event: StageStarted) -> list[tuple[str, str]]:
    """What is to be done."""
    plan, model = event.plan, event.plan.model
    layers, heads = formatting.count(model.n_layer, "layer"), formatting.count(model.n_head, "head")
    shape = f"{layers}, width {model.d_model}, {heads}"
    of_all = "drawn by weight"
    if event.conversations is not None:
        of_all = f"{formatting.count(event.conversations, 'conversation')} an epoch"
    batch, horizon, learning, _ = plan_rows(plan, event.rates, event.micro_batch_size, event.filled)
    table = [
        ("model", f"{plan.n_params:,} parameters: {shape}, vocabulary {model.vocab_size:,}"),
        ("tasks", f"{', '.join(event.tasks)}; {of_all}"),
        ("rows", f"{_PACKED[event.packing]}; about {event.counted:.0%} of them is learnt"),
        batch,
        horizon,
        learning,
        ("device", f"{event.device}, {event.dtype}{', compiled' if event.is_compiled else ''}"),
        *time_rows(event.seconds),
    ]
    if event.epochs:
        epochs = (
            f"{formatting.figure(event.epochs, 2)}: how often the conversations are gone through"
        )
        table.insert(5, ("epochs", epochs))
    return [*table, ("goes on", f"from step {event.step:,}")] if event.step else table
