"""Trains a small model from Python, with the events of the run as they happen.

python examples/train_model.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from small import tokenizer_and_shards

from bytemill.lm.train import TrainConfig, Trainer
from bytemill.lm.train.events import Event, Saved, Stepped, Validated
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.start.started import Started


def show(event: Event) -> None:
    """Prints an event; the library itself prints nothing."""
    if isinstance(event, Started):
        print(f"{event.plan.n_params:,} parameters on {event.device}")
    elif isinstance(event, Stepped) and event.step % 10 == 0:
        print(f"step {event.step}: loss {event.loss:.2f}")
    elif isinstance(event, Validated):
        print(f"step {event.step}: {event.bits_per_byte:.2f} bits per byte of validation text")
    elif isinstance(event, Saved):
        print(f"step {event.step}: saved {event.path.name}")


def main() -> None:
    """Trains."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, shards = tokenizer_and_shards(Path(folder))
        run = Path(folder) / "run"
        config = TrainConfig.of(
            data=str(shards),
            tokenizer=str(tokenizer),
            out=str(run),
            preset="cs336",
            optimizer="adamw",
            depth=2,
            context_length=64,
            batch_size=8,
            steps=40,
            eval_tokens=1024,
            device="cpu",
        )
        result = Trainer(config, on_event=show).run()
        losses = [row["loss"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
        print(f"{result.step} steps took the loss from {losses[0]:.2f} to {losses[-1]:.2f}")


if __name__ == "__main__":
    main()
