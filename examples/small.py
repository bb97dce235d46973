"""What the examples share: text that every Python has, and a model that is trained in seconds."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from bytemill import Tokenizer

BOS = "<|bos|>"


def source_files(n: int = 60) -> list[Path]:
    """The first `n` files of the Python standard library, by name."""
    return sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:n]


def tokenizer_and_shards(folder: Path) -> tuple[Path, Path]:
    """Trains a tokenizer and encodes the files with it; returns the two folders."""
    tokenizer = Tokenizer.train(source_files(), 2048, [BOS])
    tokenizer.save(folder / "tokenizer")
    tokenizer.encode_files(
        source_files(),
        folder / "shards",
        separator=BOS,
        separator_at="start",
        validation_fraction=0.1,
    )
    return folder / "tokenizer", folder / "shards"


def train_small_model(folder: Path, steps: int = 30) -> Path:
    """Trains a model of 2 layers into `folder`/run; returns that folder. Needs the extra `lm`."""
    from bytemill.lm.train import TrainConfig, Trainer

    tokenizer, shards = tokenizer_and_shards(folder)
    config = TrainConfig.of(
        data=str(shards),
        tokenizer=str(tokenizer),
        out=str(folder / "run"),
        depth=2,
        context_length=64,
        batch_size=8,
        steps=steps,
        eval_tokens=1024,
        device="cpu",
    )
    Trainer(config).run()
    return folder / "run"
