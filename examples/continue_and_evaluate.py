"""Stops a run, goes on with it, and evaluates what it came to.

python examples/continue_and_evaluate.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from small import tokenizer_and_shards

from bytemill.lm.batches.tokens import open_tokens
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.checkpoint.state import digest
from bytemill.lm.evaluate.corpus import evaluate
from bytemill.lm.train import TrainConfig, Trainer
from bytemill.lm.train.events import Event, Stepped


def main() -> None:
    """Trains the same run twice, once with an interruption."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, shards = tokenizer_and_shards(Path(folder))

        def config(name: str) -> TrainConfig:
            return TrainConfig.of(
                data=str(shards),
                tokenizer=str(tokenizer),
                out=str(Path(folder) / name),
                depth=2,
                context_length=64,
                batch_size=8,
                steps=20,
                eval_tokens=1024,
                device="cpu",
            )

        def stop_after_eight(event: Event) -> None:
            if isinstance(event, Stepped) and event.step == 8:
                trainer.stop()  # as Ctrl-C does: the step is finished, and saved

        Trainer(config("straight")).run()
        trainer = Trainer(config("stopped"), on_event=stop_after_eight)
        print(f"stopped after {trainer.run().step} steps")
        print(f"went on to {Trainer(config('stopped'), resume=True).run().step}")

        straight = load_model(Path(folder) / "straight", which="last")
        stopped = load_model(Path(folder) / "stopped", which="last")
        same = digest(straight.model.state_dict()) == digest(stopped.model.state_dict())
        print("weights:", "equal, bit for bit" if same else "different")

        tokens = open_tokens(shards, split="val")
        found = evaluate(stopped.model, tokens, stopped.tokenizer, max_tokens=2000)
        print(f"loss {found.loss:.3f}, {found.bits_per_byte:.3f} bits per byte")


if __name__ == "__main__":
    main()
