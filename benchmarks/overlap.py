"""How fast training data is searched for test items.

    python -m benchmarks.overlap --text FILE --core DIR

The items of CORE's files in DIR are looked for by runs of 13 tokens in a text, of which every
fiftieth item is made a part first; the tokenizer is trained on the text. What is found in the first
twenty documents is compared with sets of n-grams. The speed is that of `bytemill overlap` on two
threads, on the clock and per second of processor time, which other programs change less. A part of
that time, which is told too, is the thread's that reads and adds up, and is not shared among more.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from bytemill import Tokenizer
from bytemill.lm.evaluate.core.texts import core_texts
from bytemill.overlap import Index, TestItem, find_overlap

SPECIAL = "<|endoftext|>"


def naive(index: Index, tokenizer: Tokenizer, documents: list[str]) -> list[int]:
    """How many runs of each item are in the documents, by a set."""
    encode, n = tokenizer.encode_ordinary, index.n

    def runs(text: str) -> list[tuple[int, ...]]:
        ids = encode(text)
        return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]

    there = {run for document in documents for run in runs(document)}
    return [sum(run in there for text in item.texts for run in runs(text)) for item in index.items]


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", required=True, metavar="FILE", help="training data")
    parser.add_argument("--core", required=True, metavar="DIR", help="with CORE's files")
    parser.add_argument("--vocab-size", type=int, default=32_768, help="(default: 32768)")
    parser.add_argument("--threads", type=int, default=2, help="(default: 2)")
    parser.add_argument("--times", type=int, default=3, help="(default: 3)")
    args = parser.parse_args()
    documents = Path(args.text).read_text(encoding="utf-8").split(SPECIAL)
    tokenizer = Tokenizer.train(documents, args.vocab_size, [SPECIAL])
    items = [TestItem(task, i, (text,)) for task, i, text in core_texts(Path(args.core))]
    began = time.process_time()
    index = Index(items, tokenizer.encode_ordinary)
    print(
        f"{len(items):,} items, {index.n_grams:,} runs; "
        f"index made in {time.process_time() - began:.1f} s of processor time"
    )
    planted = [item.texts[0] for item in items[::50]]
    with tempfile.TemporaryDirectory() as folder:
        small, whole = Path(folder, "small.jsonl"), Path(folder, "whole.jsonl")
        for path, texts in ((small, [*planted, *documents[:20]]), (whole, [*planted, *documents])):
            path.write_text(
                "".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8"
            )
        found = [i.n_found for i in find_overlap(index, tokenizer, small).items]
        if found != naive(index, tokenizer, [*planted, *documents[:20]]):
            raise ValueError("what is found is not what sets find")
        print(f"the same as by sets: {sum(map(bool, found)):,} items touched")
        for _ in range(args.times):
            clock, cpu, alone = time.perf_counter(), time.process_time(), time.thread_time()
            result = find_overlap(index, tokenizer, whole, num_threads=args.threads)
            alone = time.thread_time() - alone
            clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
            megabytes = result.n_bytes / 1e6
            print(
                f"{megabytes:.1f} MB, {result.n_bytes / result.n_tokens:.2f} bytes a token: "
                f"{megabytes / clock:.0f} MB/s on the clock, "
                f"{megabytes / cpu:.0f} MB a second of processor time, "
                f"{alone / cpu:.0%} of it in the thread that reads"
            )


if __name__ == "__main__":
    main()
