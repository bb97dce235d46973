"""The demo's beginning: source code of the standard library -> a tokenizer -> token shards."""

from __future__ import annotations

import sysconfig
import time
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

from bytemill import BpeTrainer, Tokenizer
from bytemill.chat.render import SPECIAL_TOKENS
from bytemill.cli import formatting
from bytemill.cli.progress import Progress
from bytemill.data import Manifest, iter_documents

BOS = SPECIAL_TOKENS[0]
VALIDATION_FRACTION = 0.05
SAMPLE = '''\
def fibonacci(n: int) -> int:
    """The n-th number: 0, 1, 1, 2, 3, 5, 8, ..."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
'''


@dataclass(frozen=True)
class Sources:
    """Python files, each a document."""

    train: list[Path]
    held_out: list[Path]
    """Those that `Tokenizer.encode_files` will choose for validation."""


def source_files(folder: Path | None = None, most: int | None = None) -> Sources:
    """The Python source below `folder`; installed packages and empty files left out.

    Args:
        folder: The standard library's if None.
        most: How many files to take, the first ones; all if None.

    Raises:
        ValueError: There is no Python source.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    sources = Sources([], [])
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or "-packages/" in name:
            continue
        # The library's own tests hold files in other encodings on purpose.
        text = path.read_bytes().decode("utf-8", "replace").encode()
        if text:
            is_held_out = zlib.crc32(text) / 2**32 < VALIDATION_FRACTION
            (sources.held_out if is_held_out else sources.train).append(path)
        if len(sources.train) + len(sources.held_out) == most:
            break
    if not sources.train or not sources.held_out:
        raise ValueError(f"{folder}: it holds too little Python source for a demo")
    return sources


def train_tokenizer(sources: Sources, vocab_size: int, out: Path) -> Tokenizer:
    """Trains, saves, loads, and prints what came of it; held-out files are not looked at."""
    began = time.perf_counter()
    trainer = BpeTrainer(pattern="nanochat", special_tokens=SPECIAL_TOKENS)
    with Progress("count", "MB") as bar:
        trainer.feed_files(sources.train, errors="replace", progress=bar.update)
    counted = time.perf_counter()
    with warnings.catch_warnings(record=True), Progress("merge", "merges") as bar:
        tokenizer = trainer.train(vocab_size, progress=bar.update)
    trained = time.perf_counter()
    tokenizer.save(out)
    tokenizer = Tokenizer.load(out)

    counts = trainer.counts
    documents = iter_documents(sources.held_out, errors="replace")
    print("1. A tokenizer from the Python standard library's source\n")
    lines = [
        ("text", f"{len(sources.train):,} files, {formatting.megabytes(counts.n_bytes)}"),
        ("counted", f"{len(counts):,} distinct pretokens in {counted - began:.2f} s"),
        ("merged", f"{len(tokenizer.vocab):,} tokens in {trained - counted:.2f} s"),
        ("held out", str(formatting.compression(tokenizer, documents))),
        *formatting.labelled("longest tokens", formatting.longest_tokens(tokenizer, 3)),
        ("fingerprint", tokenizer.fingerprint),
        ("saved in", str(out)),
    ]
    print(formatting.rows(lines))
    _show_sample(tokenizer)
    return tokenizer


def _show_sample(tokenizer: Tokenizer) -> None:
    """Encodes the sample, shows where its tokens end, and decodes it."""
    text = BOS + SAMPLE
    ids = tokenizer.encode(text)
    if tokenizer.decode(ids) != text:
        raise ValueError("decoding does not give the text that was encoded")
    print(f"\nA sample: {len(text)} characters, {len(ids)} tokens, divided by |\n")
    pieces = "|".join(tokenizer.decode([id_]) for id_ in ids)
    print("\n".join("    " + line for line in pieces.split("\n")))
    print("The same as ids, which decode to the text again:\n")
    print(f"    {' '.join(map(str, ids[:16]))} ... {ids[-1]}")


def encode_shards(tokenizer: Tokenizer, sources: Sources, out: Path) -> Manifest:
    """Encodes all files, each with BOS before it, and prints how large they have become."""
    began = time.perf_counter()
    with Progress("encode", "MB") as bar:
        manifest = tokenizer.encode_files(
            sorted(sources.train + sources.held_out),
            out,
            separator=BOS,
            separator_at="start",
            validation_fraction=VALIDATION_FRACTION,
            errors="replace",
            progress=bar.update,
        )
    seconds = time.perf_counter() - began
    print("\n2. Token shards\n")
    lines = [("encoded", formatting.phase(seconds, manifest.n_bytes))]
    for split, shards in manifest.splits.items():
        tokens, documents = sum(s.tokens for s in shards), sum(s.documents for s in shards)
        in_all = f"{formatting.count(tokens, 'token')} in {formatting.count(documents, 'document')}"
        lines.append((split, in_all))
    print(formatting.rows([*lines, ("written", str(out))]))
    return manifest
