"""How fast CORE is asked, beside an evaluation of one row at a time.

    python -m benchmarks.core --data DIR

DIR has CORE's files. The model has 50 M parameters with random weights (8 layers x 576, context
2,048, fp32), its vocabulary of 16,384 is trained on the files. "Row by row" computes all logits of
each row by itself. Scores are compared with those of row by row, at batch sizes of 1, 7 and 64,
before speeds are printed: in processor time, which other programs change little, and on the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import torch

from bytemill import Tokenizer
from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.evaluate.core.items import TASKS, find, read_items
from bytemill.lm.evaluate.core.prompts import Question, question
from bytemill.lm.evaluate.core.score import Score, score

BATCH_SIZES: Final = (1, 7, 64)
BOS: Final = "<|bos|>"


class Speed(NamedTuple):
    """What asking some items took."""

    cpu: float
    """Processor seconds."""
    clock: float
    """Seconds on the clock."""


class Sample(NamedTuple):
    """Items of a task that are asked."""

    name: str
    questions: list[Question]
    n_items: int
    """How many the task has in all."""


def samples(data: Path, tokenizer: Tokenizer, n: int, context: int) -> list[Sample]:
    """The first items of each task that is there, as questions."""
    result = []
    bos = tokenizer.special_tokens[BOS]
    for task in TASKS:
        path = find(data, task)
        if path is not None:
            items = read_items(path, task)
            some = range(min(n, len(items)))
            encode = tokenizer.encode_ordinary
            asked = [question(task, items, i, encode, bos, context) for i in some]
            result.append(Sample(task.name, asked, len(items)))
    if not result:
        raise FileNotFoundError(f"{data}: none of CORE's files is there")
    return result


@torch.inference_mode()
def row_by_row(model: Transformer, questions: list[Question]) -> list[Score]:
    """Scores as they are defined."""
    found = []
    for each in questions:
        losses, exact = [], list[bool]()
        for row, (start, end) in zip(each.rows, each.spans, strict=True):
            logs = model(torch.tensor([row[:-1]]))[0].log_softmax(-1)
            targets = torch.tensor(row[1:])
            own = -logs.gather(1, targets[:, None])[:, 0]
            losses.append(float(own[start - 1 : end - 1].mean()))
            exact.append(bool((logs.argmax(1) == targets)[start - 1 : end - 1].all()))
        if each.gold is None:
            found.append(Score(losses, exact, int(exact[0]), exact[0]))
        else:
            choice = losses.index(min(losses))
            found.append(Score(losses, exact, choice, choice == each.gold))
    return found


def batched(model: Transformer, questions: list[Question], batch_size: int) -> list[Score]:
    """Scores as `bytemill base-eval` finds them, in the questions' order."""
    found = dict(score(model, questions, batch_size=batch_size))
    return [found[i] for i in range(len(questions))]


def check(name: str, ours: list[Score], theirs: list[Score]) -> None:
    """ValueError unless the choices are the same and losses differ by rounding only."""
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        far = max(abs(x - y) for x, y in zip(a.losses, b.losses, strict=True))
        if a.choice != b.choice or a.is_right != b.is_right or far > 1e-4:
            raise ValueError(f"{name}, item {number}: {a} is not {b}")


def timed(work: Callable[[], list[Score]]) -> tuple[list[Score], Speed]:
    """What some work returns, and takes."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Speed(time.process_time() - cpu, time.perf_counter() - clock)


def measure(
    model: Transformer, sample: Sample, batch_sizes: tuple[int, ...] = BATCH_SIZES
) -> list[Speed]:
    """Row by row, then each batch size; ValueError where scores differ."""
    naive, first = timed(lambda: row_by_row(model, sample.questions))
    speeds = [first]
    for size in batch_sizes:
        found, speed = timed(lambda size=size: batched(model, sample.questions, size))  # type: ignore[misc]
        check(f"{sample.name}, batch size {size}", found, naive)
        speeds.append(speed)
    return speeds


def train_tokenizer(data: Path, n_vocab: int) -> Tokenizer:
    """One of the size wanted, on all files of a folder."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(data.rglob("*.jsonl"))]
    lines = (json.loads(line) for text in texts for line in text.splitlines() if line.strip())
    return Tokenizer.train((json.dumps(line, ensure_ascii=False) for line in lines), n_vocab, [BOS])


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="DIR", help="with CORE's files")
    parser.add_argument("--items", type=int, default=4, metavar="N", help="a task (default: 4)")
    parser.add_argument("--layers", type=int, default=8, help="(default: 8)")
    parser.add_argument("--width", type=int, default=576, help="a multiple of 64 (default: 576)")
    parser.add_argument("--vocab-size", type=int, default=16_384, help="(default: 16384)")
    parser.add_argument("--context", type=int, default=2048, help="(default: 2048)")
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = train_tokenizer(Path(args.data), args.vocab_size)
    config = ModelConfig.preset(
        "cs336", vocab_size=tokenizer.n_vocab, context_length=args.context, d_model=args.width,
        n_layer=args.layers, n_head=args.width // 64,
    )  # fmt: skip
    model = Transformer(config, generator=torch.Generator().manual_seed(1)).eval()
    n_params = sum(parameter.numel() for parameter in model.parameters())
    print(f"{n_params:,} parameters, {args.items} items a task, {args.threads} threads")
    heads = ["row by row", *(f"batch {n}" for n in BATCH_SIZES)]
    print(f"{'processor s an item':34}{''.join(f'{head:>12}' for head in heads)}{'times':>8}")
    sums = [Speed(0, 0)] * len(heads)
    weighted = [0.0] * len(heads)
    n_all = 0
    for sample in samples(Path(args.data), tokenizer, args.items, args.context):
        speeds = measure(model, sample)
        n = len(sample.questions)
        n_all += n
        each = "".join(f"{speed.cpu / n:12.4f}" for speed in speeds)
        best = min(speed.cpu for speed in speeds[1:])
        print(f"{sample.name:34}{each}{speeds[0].cpu / best:8.1f}", flush=True)
        sums = [Speed(a.cpu + b.cpu, a.clock + b.clock) for a, b in zip(sums, speeds, strict=True)]
        for i, speed in enumerate(speeds):
            weighted[i] += speed.cpu / n * sample.n_items
    for label, values in (
        ("items a processor second", [n_all / total.cpu for total in sums]),
        ("items a second on the clock", [n_all / total.clock for total in sums]),
        ("all items, processor seconds", weighted),
    ):
        print(f"{label:34}{''.join(f'{value:12,.2f}' for value in values)}")
    for head, total, whole in zip(heads[1:], sums[1:], weighted[1:], strict=True):
        print(
            f"{head}: {sums[0].cpu / total.cpu:.2f} times row by row in processor time, "
            f"{sums[0].clock / total.clock:.2f} on the clock; {weighted[0] / whole:.2f} for all "
            "items of these tasks; scores are the same"
        )


if __name__ == "__main__":
    main()
