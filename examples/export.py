"""Takes a vocabulary to tiktoken, Hugging Face and GPT-2's two files, and back.

python examples/export.py

Needs tiktoken and tokenizers. Each export compares ids on a sample of texts by itself; this program
shows that they are the same for other text, too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tokenizers
from small import BOS, source_files

from bytemill import Tokenizer


def main() -> None:
    """Exports, compares and reads back."""
    tokenizer = Tokenizer.train(source_files(), 2048, [BOS], pattern="cl100k")
    text = source_files()[0].read_text(encoding="utf-8") + BOS
    ids = tokenizer.encode(text)

    encoding = tokenizer.to_tiktoken("mine")
    print("tiktoken:", encoding.encode(text, allowed_special="all") == ids)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.to_huggingface(path)
        theirs = tokenizers.Tokenizer.from_file(str(path))
        print("tokenizers:", theirs.encode(text).ids == ids)

        vocab, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        tokenizer.to_files(vocab, merges)
        print("GPT-2's files:", Tokenizer.from_files(vocab, merges, pattern="cl100k") == tokenizer)

        print("read back:", Tokenizer.from_huggingface(path) == tokenizer)
    print("read back:", Tokenizer.from_tiktoken(encoding) == tokenizer)


if __name__ == "__main__":
    main()
