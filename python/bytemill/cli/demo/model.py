"""The demo's base model: token shards -> a model -> its bits per byte, and what it writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from bytemill import Tokenizer
from bytemill.cli import formatting
from bytemill.cli.demo.sizes import Size
from bytemill.cli.demo.tokenizer import BOS
from bytemill.cli.progress import Progress
from bytemill.cli.train import Screen
from bytemill.data import open_shards
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.evaluate.baselines import (
    Baseline,
    Bigram,
    Unigram,
    baseline_bits_per_byte,
    gzip_bits_per_byte,
)
from bytemill.lm.generate.text import generate
from bytemill.lm.train import Trainer
from bytemill.lm.train.run_data import RunData

# A space at the end would not be as in the text, where it begins the next token.
PROMPTS = ("def", "class", "import")
SAMPLE_TOKENS = 120


def train_model(
    size: Size, out: Path, steps: int | None, seed: int, *, resume: bool = False
) -> float:
    """Trains, or goes on, with progress; returns the validation bits per byte."""
    config = size.config(out, steps, seed)
    planned = formatting.count(config.schedule.steps or size.steps, "step")
    began = time.perf_counter()
    limit = (
        "" if config.schedule.minutes is None else f", {config.schedule.minutes:g} minutes at most"
    )
    print(f"\n3. A language model, trained for {planned}{limit}\n")
    with Progress("train", "steps") as bar:
        trainer = Trainer(config, on_event=Screen(bar), resume=resume)
        result = trainer.run()
    if not result.is_finished:
        raise KeyboardInterrupt
    # A run that had ended before has made no step, and so no validation.
    found = result.validation or trainer.validate()
    if found is None or found.bits_per_byte is None:
        raise ValueError("there is no text for validation")
    took = time.perf_counter() - began
    print(f"trained for {formatting.count(result.step, 'step')} in {took:.0f} s")
    return found.bits_per_byte


def compare(size: Size, out: Path, bits_per_byte: float) -> None:
    """Prints the model's bits per byte beside those of simpler models, on the same text."""
    data = RunData.open(size.config(out, None, 0).data)
    lengths = data.token_bytes(data.n_vocab)
    batches = data.val_batches(size.eval_tokens, size.batch_size, size.context_length)
    if data.tokenizer is None or lengths is None:
        raise ValueError(f"{out}: there is no tokenizer")
    counts: dict[str, Baseline] = {
        "unigram": Unigram.fit(data.train, data.n_vocab),
        "bigram": Bigram.fit(data.train, data.n_vocab),
    }
    found = {
        name: baseline_bits_per_byte(model, batches, lengths.numpy())
        for name, model in counts.items()
    }
    packed = gzip_bits_per_byte(_validation_text(out, data.tokenizer))
    gap = found["bigram"] - bits_per_byte
    beside = f"{abs(gap):.3f} {'below' if gap > 0 else 'above'} the bigram model's"
    lines = [
        ("unigram model", f"{found['unigram']:.3f}  of the same tokens"),
        ("gzip -9", f"{packed:.3f}  of all validation text"),
        ("bigram model", f"{found['bigram']:.3f}  of the same tokens"),
        ("this model", f"{bits_per_byte:.3f}  {beside}"),
    ]
    print("\n4. Bits per byte of validation text\n")
    print(formatting.rows([*lines, ("loss curves", str(out / "model" / "loss.png"))]))


def _validation_text(out: Path, tokenizer: Tokenizer) -> Iterator[bytes]:
    shards = open_shards(out / "shards", tokenizer=tokenizer, split="val")
    for index in range(shards.n_documents):
        yield tokenizer.decode_bytes(shards.document(index)[1:])


def write_samples(out: Path, seed: int) -> None:
    """Loads the best checkpoint and prints how it goes on from a few beginnings."""
    loaded = load_model(out / "model")
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise ValueError(f"{loaded.path}: there is no tokenizer")
    length = min(SAMPLE_TOKENS, loaded.config.context_length - 16)
    began = time.perf_counter()
    with torch.inference_mode():
        rows = generate(
            loaded.model,
            [tokenizer.encode(BOS + prompt) for prompt in PROMPTS],
            max_new_tokens=length,
            temperature=0.7,
            top_p=0.95,
            stop=set(tokenizer.special_tokens.values()),
            seed=seed,
        )
    speed = sum(map(len, rows)) / (time.perf_counter() - began)
    print(f"\n5. Samples, {speed:,.0f} tokens/s\n")
    for prompt, ids in zip(PROMPTS, rows, strict=True):
        lines = (prompt + tokenizer.decode(ids)).split("\n")
        print("\n".join("    " + line for line in lines) + "\n")
