"""How large a demo is, and how long each of its parts takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bytemill.lm.train import TrainConfig


@dataclass(frozen=True)
class Size:
    """A demo's tokenizer, base model and stages after it."""

    vocab_size: int
    n_layer: int
    d_model: int
    n_head: int
    context_length: int
    batch_size: int
    eval_tokens: int
    steps: int
    """How long to train where that takes no more than `minutes`."""
    minutes: float | None
    """For how long to train at most. Where that is too short for the steps the trainer shortens the
    schedule as it goes, so that the learning rates have come down when it ends."""
    sft_steps: int
    sft_minutes: float | None
    """As `minutes`, of the conversations."""
    rl_steps: int
    rl_minutes: float | None
    """As `minutes`, of reinforcement learning."""
    rl_questions: int
    rl_samples: int
    """Replies to each question. Most questions are always answered rightly, or never, and say
    nothing: many of them with few replies say more than few with many."""
    items: int
    """Questions of a task that each evaluation asks."""
    reply_tokens: int
    """Of an answer, at most."""
    sft_batch_size: int = 8
    most_files: int | None = None
    threads: int | None = None

    def config(self, out: Path, steps: int | None, seed: int) -> TrainConfig:
        """The base model's run in `out`; steps that are given are made, however long they take."""
        planned = steps or self.steps
        return TrainConfig.of(
            data=str(out / "shards"),
            tokenizer=str(out / "tokenizer"),
            out=str(out / "model"),
            preset="gpt",
            context_length=self.context_length,
            n_layer=self.n_layer,
            d_model=self.d_model,
            n_head=self.n_head,
            batch_size=self.batch_size,
            steps=planned,
            minutes=self.minutes if steps is None else None,
            # nanochat's rates. The dial would lower them for so small a batch; few steps want more.
            lr_batch_scaling=False,
            decay_fraction=0.6,
            threads=self.threads,
            seed=seed,
            eval_every=max(planned // 4, 1),
            eval_tokens=self.eval_tokens,
            checkpoint_every=max(planned // 4, 1),
            log_every=max(planned // 100, 1),
        )


QUICK = Size(
    vocab_size=400,
    n_layer=2,
    d_model=32,
    n_head=1,
    context_length=128,
    batch_size=4,
    eval_tokens=512,
    steps=30,
    minutes=None,
    sft_steps=20,
    sft_minutes=None,
    rl_steps=2,
    rl_minutes=None,
    rl_questions=2,
    rl_samples=2,
    items=4,
    reply_tokens=16,
    sft_batch_size=4,
    most_files=120,
    threads=1,
)
CPU = Size(
    vocab_size=512,
    n_layer=4,
    d_model=192,
    n_head=3,
    context_length=256,
    batch_size=16,
    eval_tokens=1 << 16,
    steps=300,
    minutes=2.5,
    sft_steps=700,
    sft_minutes=200 / 60,
    rl_steps=60,
    rl_minutes=1.75,
    rl_questions=16,
    rl_samples=8,
    items=200,
    reply_tokens=64,
)
GPU = Size(
    vocab_size=512,
    n_layer=8,
    d_model=512,
    n_head=4,
    context_length=1024,
    batch_size=64,
    eval_tokens=1 << 19,
    steps=1500,
    minutes=4.0,
    sft_steps=1000,
    sft_minutes=2.0,
    rl_steps=50,
    rl_minutes=2.0,
    rl_questions=16,
    rl_samples=16,
    items=200,
    reply_tokens=64,
)
