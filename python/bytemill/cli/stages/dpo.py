"""Trains an assistant on pairs of answers, one of them preferred: DPO.

bytemill dpo --init-from runs/sft --pairs pairs.jsonl --out runs/dpo
bytemill dpo --init-from runs/sft --pairs pairs.jsonl --lora-rank 8 --out runs/dpo
torchrun --nproc-per-node 2 -m bytemill dpo --init-from runs/sft --pairs pairs.jsonl --out runs/dpo
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bytemill.cli import formatting
from bytemill.cli.stages.supervised import StageScreen, parser_of, trained
from bytemill.cli.train import launched, plan_rows, time_rows
from bytemill.lm.stages.dpo.config import NOT_OF_DPO, DpoConfig
from bytemill.lm.stages.dpo.stage import Dpo, DpoStarted, Preferred
from bytemill.lm.train import Result
from bytemill.lm.train.events import Event
from bytemill.lm.train.start.started import Started


def parser(prog: str = "bytemill dpo") -> argparse.ArgumentParser:
    """The command line: a flag for each field of `DpoConfig`."""
    about = (
        "Train an assistant on pairs of answers: what was chosen becomes likelier than "
        "what was rejected, held by the weights at the beginning. Ctrl-C saves; --resume goes on, "
        "from there or from the last checkpoint, and ends with the same weights."
    )
    return parser_of(prog, about, DpoConfig, NOT_OF_DPO)


def main(argv: Sequence[str] | None = None, prog: str = "bytemill dpo") -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return launched(lambda: run(args))


def run(args: argparse.Namespace) -> Result:
    """Trains, as one process or as one of those that torchrun has started."""
    return trained("dpo", args, DpoConfig, Dpo, DpoScreen)


class DpoScreen(StageScreen):
    """Shows a run's events."""

    def _overview(self, event: Started) -> list[tuple[str, str]]:
        return overview(event) if isinstance(event, DpoStarted) else super()._overview(event)

    def _line(self, event: Event) -> str:
        if isinstance(event, Preferred):
            found = event.figures
            return (
                f"step {event.step:,}: the chosen answer gained more in {found['accuracy']:.0%} of "
                f"the pairs, margin {found['margin']:.3f}"
            )
        return super()._line(event)


def overview(event: DpoStarted) -> list[tuple[str, str]]:
    """What is to be done."""
    plan, model = event.plan, event.plan.model
    layers, heads = formatting.count(model.n_layer, "layer"), formatting.count(model.n_head, "head")
    shape = f"{layers}, width {model.d_model}, {heads}"
    _, _, learning, _ = plan_rows(plan, event.rates, event.micro_batch_size)
    table = [
        ("model", f"{plan.n_params:,} parameters: {shape}, vocabulary {model.vocab_size:,}"),
        ("pairs", f"{event.pairs:,}, and {event.val_pairs:,} kept back; beta {event.beta:g}"),
        (
            "batch",
            f"{formatting.count(plan.batch_size, 'pair')}; {event.micro_batch_size} at a time",
        ),
        ("horizon", f"{formatting.count(plan.steps, 'step')}, {event.epochs:.3g} epochs"),
        learning,
        ("device", f"{event.device}, {event.dtype}"),
        *time_rows(event.seconds),
    ]
    return [*table, ("goes on", f"from step {event.step:,}")] if event.step else table
