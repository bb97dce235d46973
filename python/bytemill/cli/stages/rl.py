"""Trains an assistant on what it writes itself, by what judges say of it.

bytemill rl --init-from runs/sft --data data --out runs/rl
bytemill rl --init-from runs/sft --tasks "0.7=arithmetic-3; 0.3=spelling" --replay-rows 4 \
    --steps 50 --out runs/rl
torchrun --nproc-per-node 2 -m bytemill rl --init-from runs/sft --out runs/rl
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bytemill.cli import formatting
from bytemill.cli.stages.supervised import PARTS, StageScreen, parser_of, trained
from bytemill.cli.train import launched, plan_rows
from bytemill.lm.stages.rl.config import NOT_OF_RL, RlConfig
from bytemill.lm.stages.rl.stage import Rewarded, Rl, RlStarted
from bytemill.lm.train import Result
from bytemill.lm.train.events import Event
from bytemill.lm.train.start.started import Started

PROG = "python -m scripts.chat_rl"


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The command line: a flag for each field of `RlConfig`."""
    about = (
        "Train an assistant on its own answers: those that a task's judge finds better "
        "than others to the same question become likelier. Ctrl-C saves; --resume goes on, from "
        "there or from the last checkpoint, and ends with the same weights."
    )
    return parser_of(
        prog, about, RlConfig, NOT_OF_RL, {"data": "data", "rollouts": "rollouts", **PARTS}
    )


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return launched(lambda: run(args))


def run(args: argparse.Namespace) -> Result:
    """Trains, as one of the processes of torchrun if there are several."""
    return trained("rl", args, RlConfig, Rl, RlScreen)


class RlScreen(StageScreen):
    """Shows a run's events."""

    def _overview(self, event: Started) -> list[tuple[str, str]]:
        return overview(event) if isinstance(event, RlStarted) else super()._overview(event)

    def _line(self, event: Event) -> str:
        return rewarded(event) if isinstance(event, Rewarded) else super()._line(event)


def rewarded(event: Rewarded) -> str:
    """What was written since the last such line."""
    found = event.figures
    line = (
        f"step {event.step:,}: reward {found['reward']:.3f}, {found['reply_tokens']:.0f} tokens a "
        f"reply, {found['truncated']:.0%} cut off, {found['skipped']:.0%} of the questions skipped"
        if "reward" in found
        else f"step {event.step:,}: another step of the same replies"
    )
    more = {"clipped": "clipped {:.1%}", "kl": "divergence {:.4f}"}
    return ", ".join([line, *(text.format(found[k]) for k, text in more.items() if k in found)])


def overview(event: RlStarted) -> list[tuple[str, str]]:
    """What is to be done."""
    plan, model = event.plan, event.plan.model
    layers, heads = formatting.count(model.n_layer, "layer"), formatting.count(model.n_head, "head")
    shape = f"{layers}, width {model.d_model}, {heads}"
    _, _, learning, _ = plan_rows(plan, event.rates, event.micro_batch_size)
    replayed = f", and {formatting.count(event.replayed, 'replayed row')}" if event.replayed else ""
    table = [
        ("model", f"{plan.n_params:,} parameters: {shape}, vocabulary {model.vocab_size:,}"),
        ("tasks", ", ".join(event.tasks)),
        (
            "batch",
            f"{formatting.count(event.questions, 'question')}, {event.samples} replies to each"
            f"{replayed}; {event.micro_batch_size} rows at a time",
        ),
        ("horizon", formatting.count(plan.steps, "step")),
        learning,
        ("validation", f"{formatting.count(event.problems, 'problem')} that are not trained on"),
        ("device", f"{event.device}, {event.dtype}"),
    ]
    return [*table, ("goes on", f"from step {event.step:,}")] if event.step else table
