"""Trains tokenizers of several sizes and patterns on the same text, and compares them.

python examples/train_tokenizer.py
"""

from __future__ import annotations

from small import BOS, source_files

from bytemill import BpeTrainer, Tokenizer


def bytes_per_token(tokenizer: Tokenizer, texts: list[str]) -> float:
    """How much text a token holds: more is better, on the same text."""
    n_bytes = sum(len(text.encode()) for text in texts)
    return n_bytes / sum(tokenizer.count_batch(texts))


def main() -> None:
    """Compares."""
    *files, last = source_files()
    held_out = [last.read_text(encoding="utf-8")]
    print(f"trained on {len(files)} files, held out: {last.name}")
    for pattern in ("gpt2", "cl100k", r"\S+|\s+"):
        trainer = BpeTrainer(pattern=pattern, special_tokens=[BOS])
        trainer.feed_files(files)
        # The counts are kept: further sizes take only the merging time.
        for vocab_size in (512, 2048, 8192):
            tokenizer = trainer.train(vocab_size)
            found = bytes_per_token(tokenizer, held_out)
            print(f"{pattern:<10} {vocab_size:>6,} tokens  {found:.3f} bytes per token")
    longest = max(tokenizer.mergeable_ranks, key=len)
    print(f"the longest token of the last one: {longest!r}")


if __name__ == "__main__":
    main()
