"""How each library is called: one small function per library and task.

A function imports its library and returns a `Job`. All train the same number of merges on the
same documents with the same pattern: files are cut at `<|endoftext|>`, which belongs to no
document. `vocab_size` is bytemill's, which counts that special token; the peers, who never see
it, are asked for one token less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.documents import SEPARATOR, documents
from benchmarks.job import Job, NotRun

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class Trainer(NamedTuple):
    """A library that trains."""

    job: str
    """The function below, as `measure.run_fresh` takes it."""
    distribution: str
    """The package on PyPI."""
    tie_break: str | None
    """bytemill's name for its tie rule (found by comparing merges); None if bytemill has it not."""
    by_lines: bool = False
    """Whether it takes each line for a document, separators for text, and knows only the bytes that
    occur: it is compared with bytemill doing the same."""


TRAINERS = {
    "bytemill": Trainer("benchmarks.peers:train_bytemill", "bytemill", "lexicographic"),
    "gigabpe": Trainer("benchmarks.peers:train_gigabpe", "gigabpe", "huggingface", True),
    "gigatoken": Trainer("benchmarks.peers:train_gigatoken", "gigatoken", "huggingface"),
    "rustbpe": Trainer("benchmarks.peers:train_rustbpe", "rustbpe", "lowest_id"),
    "tokenizers": Trainer("benchmarks.peers:train_tokenizers", "tokenizers", "huggingface"),
    "bpeasy": Trainer("benchmarks.peers:train_bpeasy", "bpeasy", "lowest_id"),
}


def _hex(tokens: Sequence[bytes]) -> dict[str, Any]:
    return {"tokens": [bytes(token).hex() for token in tokens]}


def _hex_pairs(merges: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"merges": [[bytes(a).hex(), bytes(b).hex()] for a, b in merges]}


def train_bytemill(
    paths: list[str],
    vocab_size: int,
    pattern: str,
    threads: int | None = None,
    times: int = 0,
    tie_break: Any = "lexicographic",
    by_lines: bool = False,
) -> Job:
    """From the files or, with `times`, from a generator that yields their documents so often."""
    from bytemill import BpeTrainer

    def run() -> Any:
        if by_lines:
            trainer = BpeTrainer(pattern=pattern, tie_break=tie_break, num_threads=threads)
            trainer.feed(lines(paths))
            return trainer.train(vocab_size - 1)
        trainer = BpeTrainer(
            pattern=pattern, special_tokens=[SEPARATOR], tie_break=tie_break, num_threads=threads
        )
        if times:
            trainer.feed(documents(paths, times=times))
        else:
            trainer.feed_files(paths)
        return trainer.train(vocab_size)

    return Job(run, lambda tokenizer: _hex_pairs(tokenizer.merges))


def lines(paths: list[str]) -> Iterator[str]:
    """The lines of files, with their ends."""
    for path in paths:
        with Path(path).open(encoding="utf-8", newline="\n") as file:
            yield from file


def distinct_bytes(paths: list[str]) -> set[int]:
    """The bytes that occur in files, of which no more is held in memory than a piece."""
    found: set[int] = set()
    for path in paths:
        with Path(path).open("rb") as file:
            while piece := file.read(1 << 16):
                found.update(piece)
    return found


def train_gigabpe(
    paths: list[str], vocab_size: int, pattern: str, threads: int | None = None, times: int = 0
) -> Job:
    """Its own file reader, line by line; its vocabulary has no bytes that do not occur."""
    if pattern != GPT2:
        raise NotRun("trains with GPT-2's pattern only")
    if times:
        raise NotRun("takes files only")
    import gigabpe

    stand_in = byte_stand_ins()
    n_bytes = len(distinct_bytes(paths))
    return Job(
        lambda: gigabpe.train_bpe(
            [*paths],
            vocab_size=vocab_size - 257 + n_bytes,
            special_tokens=[],
            pretokenizer="bytelevel",
            threads=threads,
        ),
        lambda result: _hex_pairs(
            [(bytes(stand_in[c] for c in a), bytes(stand_in[c] for c in b)) for a, b in result[1]]
        ),
    )


def train_gigatoken(
    paths: list[str], vocab_size: int, pattern: str, threads: int | None = None, times: int = 0
) -> Job:
    """Its own file reader; it takes neither a pattern nor an iterator, and threads from rayon."""
    if pattern != GPT2:
        raise NotRun("trains with GPT-2's pattern only")
    if times:
        raise NotRun("takes files only")
    import gigatoken

    source = gigatoken.TextFileSource([*paths], separator=SEPARATOR.encode())
    return Job(
        lambda: gigatoken.train_bpe(source, vocab_size - 1, []),
        lambda result: _hex_pairs(result[1]),
    )


def train_rustbpe(
    paths: list[str], vocab_size: int, pattern: str, threads: int | None = None, times: int = 0
) -> Job:
    """An iterator of documents."""
    import rustbpe

    def run() -> Any:
        tokenizer = rustbpe.Tokenizer()
        texts = documents(paths, times=times or 1)
        tokenizer.train_from_iterator(texts, vocab_size=vocab_size - 1, pattern=pattern)
        return tokenizer

    def tokens(tokenizer: Any) -> dict[str, Any]:
        ranks = sorted(tokenizer.get_mergeable_ranks(), key=lambda item: item[1])
        return _hex([token for token, _ in ranks])

    return Job(run, tokens)


def oniguruma(pattern: str) -> str:
    """A pattern in the syntax of tokenizers' regex engine.

    There `{1,3}+` means "one or more times one to three", and `$` the end of a line.
    """
    return pattern.replace(r"\p{N}{1,3}+|", r"\p{N}{1,3}|").replace(r"\s++$|", r"\s++\z|")


def train_tokenizers(
    paths: list[str], vocab_size: int, pattern: str, threads: int | None = None, times: int = 0
) -> Job:
    """An iterator of documents; byte-level, as its GPT-2 tokenizer."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    def run() -> Any:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(oniguruma(pattern)), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 1,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(documents(paths, times=times or 1), trainer)
        return tokenizer

    def merges(tokenizer: Any) -> dict[str, Any]:
        stand_in = byte_stand_ins()
        pairs = json.loads(tokenizer.to_str())["model"]["merges"]
        return _hex_pairs(
            [(bytes(stand_in[c] for c in a), bytes(stand_in[c] for c in b)) for a, b in pairs]
        )

    return Job(run, merges)


def byte_stand_ins() -> dict[str, int]:
    """The byte that each printable character of GPT-2's vocabulary files stands for."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


def train_bpeasy(
    paths: list[str], vocab_size: int, pattern: str, threads: int | None = None, times: int = 0
) -> Job:
    """An iterator of documents; tokens of any length."""
    import bpeasy

    return Job(
        lambda: bpeasy.train_bpe(
            documents(paths, times=times or 1), pattern, 1 << 30, vocab_size - 1
        ),
        lambda vocab: _hex(sorted(vocab, key=vocab.__getitem__)),
    )
