"""How an assistant does on tasks: questions with choices, sums, programs, spelling.

bytemill chat-eval --model runs/sft --tasks gsm8k arc-easy --data data
bytemill chat-eval --model runs/sft --tasks arithmetic counting --words words.txt --max-items 200
bytemill chat-eval --model runs/sft --tasks gsm8k --samples 16 --pass-at 1 8
torchrun --nproc-per-node 8 -m bytemill chat-eval --model runs/sft
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from bytemill import Tokenizer
from bytemill.chat.render import Renderer
from bytemill.cli import formatting, model
from bytemill.cli.command import EPILOG
from bytemill.cli.evaluation.results import Asked, add_out, asked, ended
from bytemill.cli.progress import Progress
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.chat import TaskScore, chat_core, chat_core_interval
from bytemill.lm.evaluate.chat_run import TaskRun, run_task
from bytemill.lm.evaluate.chat_samples import Samples, sample_task
from bytemill.lm.generate.sampling import Sampling
from bytemill.tasks.named import CHAT_CORE, NAMED, Sources
from bytemill.tasks.task import Task
from bytemill.tasks.words import default_words, words_in

_WORDED: Final = ("spelling", "counting")
_WRITTEN: Final = ("gsm8k", "humaneval")
"""Those of ChatCORE that are answered in writing."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Ask an assistant the items of tasks, and judge its answers. Questions with "
        "choices are answered by the likeliest letter, others by what it writes, greedily. Answers "
        "are kept in the run's folder: what has been answered is not asked again.",
        epilog=EPILOG,
    )
    model.add_flags(result)
    add = result.add_argument
    add(
        "--tasks",
        nargs="+",
        action="extend",
        metavar="NAME",
        choices=list(NAMED),
        help=f"which tasks, of: {', '.join(NAMED)} (default: {' '.join(CHAT_CORE)})",
    )
    add(
        "--data",
        default="data",
        metavar="DIR",
        help="a folder with the published data sets, each in a folder of its repository's name: "
        "ai2_arc, mmlu, gsm8k, openai_humaneval (default: %(default)s)",
    )
    add(
        "--words",
        metavar="FILE",
        help="text, as tok-train reads it, whose words are spelled and counted in, of its first 10 "
        "million characters (default: the tokenizer's own words)",
    )
    add("--max-items", type=int, metavar="N", help="the first N items of each task (default: all)")
    add(
        "--batch-size",
        type=int,
        default=16,
        metavar="N",
        help="items at a time; of --samples, replies (default: %(default)s)",
    )
    add(
        "--max-new-tokens",
        type=int,
        default=512,
        metavar="N",
        help="tokens of an answer at most (default: %(default)s)",
    )
    add(
        "--samples",
        type=int,
        metavar="N",
        help="draw N replies to each question that is answered in writing, for pass@k: how likely "
        "one of k replies is right (default: one, greedily)",
    )
    add(
        "--pass-at",
        type=int,
        nargs="+",
        action="extend",
        metavar="K",
        help="the k of pass@k, up to --samples (default: 1 and --samples)",
    )
    add(
        "--temperature",
        type=float,
        metavar="X",
        help="of --samples: logits are divided by it (default: 1)",
    )
    add(
        "--top-k",
        type=int,
        metavar="N",
        help="of --samples: tokens that are drawn from at each place (default: all)",
    )
    add("--seed", type=int, metavar="N", help="of the chance of --samples (default: 0)")
    add_out(result, "answers and results")
    add("--unsafe", action="store_true", help="run programs even where they cannot be isolated")
    add("--json", action="store_true", help="print one line of JSON instead of a table")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return ended(lambda: run(args), "what was answered is kept; the same command goes on")


def run(args: argparse.Namespace) -> None:
    """Loads, asks and prints."""
    ks = _pass_at(args)
    usual = CHAT_CORE if args.samples is None else _WRITTEN
    names = list(dict.fromkeys(args.tasks or usual))
    # First of all: a data set that is missing is said before anything is asked.
    with asked(args) as this:
        with this.ranks.all_or_none():
            tokenizer = model.tokenizer_of(args, this.loaded)
            tasks = _tasks(args, names, tokenizer)
            renderer = Renderer(tokenizer)
        if args.samples is not None:
            _sampled(args, this, renderer, tasks, ks)
            return
        runs = {name: _run(args, this, renderer, name, task) for name, task in tasks.items()}
        if not this.ranks.is_first:
            return
        of_core = [runs[name].score for name in CHAT_CORE if name in runs]
        has_core = len(of_core) == len(CHAT_CORE)
        whole = this.save(
            "chat",
            {
                "max_items": args.max_items,
                "max_new_tokens": args.max_new_tokens,
                "chat_core": chat_core(of_core) if has_core else None,
                "chat_core_interval": chat_core_interval(of_core) if has_core else None,
                "tasks": {
                    name: {
                        "items": len(run.score.answers),
                        "score": run.score.score,
                        "interval": run.score.interval(),
                        "centred": run.score.centred,
                        "finished": sum(answer.is_finished for answer in run.score.answers),
                        "too_long": run.score.n_too_long,
                        "seconds": round(run.seconds, 2),
                        "content": run.content,
                    }
                    for name, run in runs.items()
                },
            },
        )
    if args.json:
        print(json.dumps(whole))
        return
    print(formatting.rows(_row(name, run.score) for name, run in runs.items()))
    if has_core:
        low, high = chat_core_interval(of_core)
        print(f"\nChatCORE: {chat_core(of_core):.4f} (95 %: {low:.4f} to {high:.4f})")
    print(f"\nsaved: {this.out / 'chat.json'}")


def _tasks(args: argparse.Namespace, names: Sequence[str], tokenizer: Tokenizer) -> dict[str, Task]:
    needs = [name for name in names if name.startswith(_WORDED)]
    words: list[str] = []
    if args.words is not None:
        words = words_in(args.words)
    elif needs and not (words := default_words(tokenizer.mergeable_ranks)):
        raise ValueError(
            f"--tasks {needs[0]}: the tokenizer has no words of 3 to 12 letters; give --words, a "
            "text whose words are asked for"
        )
    sources = Sources(Path(args.data), words, unsafe=args.unsafe)
    return {name: NAMED[name](sources) for name in names}


def _run(
    args: argparse.Namespace, this: Asked, renderer: Renderer, name: str, task: Task
) -> TaskRun:
    with Progress(name, "items") as bar:
        return run_task(
            this.loaded.model,
            renderer,
            task,
            max_items=args.max_items,
            batch_size=args.batch_size,
            max_new_tokens=args.max_new_tokens,
            computing=lambda: runtime.autocast(this.device, this.dtype),
            dtype=None if this.dtype == torch.float32 else this.dtype,
            keep=this.out / "chat" / f"{name}.jsonl",
            identity=this.identity,
            ranks=this.ranks,
            progress=bar.update if this.ranks.is_first else None,
        )


def _pass_at(args: argparse.Namespace) -> list[int]:
    """The k of pass@k, ascending."""
    if args.samples is None:
        for flag in ("pass_at", "temperature", "top_k", "seed"):
            if getattr(args, flag) is not None:
                raise ValueError(
                    f"--{flag.replace('_', '-')} is for replies that are drawn: say with --samples "
                    "how many to each question"
                )
        return []
    if args.samples < 1:
        raise ValueError(f"--samples {args.samples}: it must be at least 1")
    if args.temperature is not None or args.top_k is not None:
        Sampling(1.0 if args.temperature is None else args.temperature, args.top_k)  # or says why
    ks = sorted({1, args.samples} if args.pass_at is None else set(args.pass_at))
    for k in ks:
        if not 1 <= k <= args.samples:
            raise ValueError(
                f"--pass-at {k}: it must be from 1 up to --samples, {args.samples} replies"
            )
    return ks


def _sampled(
    args: argparse.Namespace,
    this: Asked,
    renderer: Renderer,
    tasks: dict[str, Task],
    ks: Sequence[int],
) -> None:
    """Draws several replies to each question, and prints pass@k."""
    for name, task in tasks.items():
        if task.kind == "categorical":
            raise ValueError(f"--samples {args.samples}: {name} is answered by a letter, not drawn")
    temperature = 1.0 if args.temperature is None else args.temperature
    seed = args.seed or 0
    runs = {}
    for name, task in tasks.items():
        with Progress(name, "items") as bar:
            runs[name] = sample_task(
                this.loaded.model,
                renderer,
                task,
                args.samples,
                max_items=args.max_items,
                batch_size=args.batch_size,
                max_new_tokens=args.max_new_tokens,
                temperature=temperature,
                top_k=args.top_k,
                seed=seed,
                dtype=None if this.dtype == torch.float32 else this.dtype,
                keep=this.out / "samples" / f"{name}.jsonl",
                identity=this.identity,
                ranks=this.ranks,
                progress=bar.update if this.ranks.is_first else None,
            )
    if not this.ranks.is_first:
        return
    whole = this.save(
        "pass",
        {
            "max_items": args.max_items,
            "max_new_tokens": args.max_new_tokens,
            "samples": args.samples,
            "temperature": temperature,
            "top_k": args.top_k,
            "seed": seed,
            "tasks": {
                name: {
                    "items": len(run.scores),
                    "finished": run.n_finished,
                    "too_long": run.n_too_long,
                    "seconds": round(run.seconds, 2),
                    "content": run.content,
                    "pass": {
                        str(k): {"score": run.pass_at(k), "interval": run.interval(k)} for k in ks
                    },
                }
                for name, run in runs.items()
            },
        },
    )
    if args.json:
        print(json.dumps(whole))
        return
    rows = [_sampled_row(name, run, k) for name, run in runs.items() for k in ks]
    print(formatting.rows(rows))
    print(f"\nsaved: {this.out / 'pass.json'}")


def _sampled_row(name: str, run: Samples, k: int) -> tuple[str, str]:
    low, high = run.interval(k)
    n = len(run.scores[0])
    figures = f"{100 * run.pass_at(k):6.2f} % of {len(run.scores):,}, {n} replies each"
    figures += f" (95 %: {100 * low:.2f} to {100 * high:.2f})"
    return f"{name}, pass@{k}", figures + _too_long(run.n_too_long)


def _row(name: str, score: TaskScore) -> tuple[str, str]:
    low, high = score.interval()
    figures = f"{100 * score.score:6.2f} % of {len(score.answers):,}"
    figures += f" (95 %: {100 * low:.2f} to {100 * high:.2f})"
    return name, figures + _too_long(score.n_too_long)


def _too_long(n: int) -> str:
    """What is said of items that could not be asked."""
    return f"; {n:,} longer than the context, counted as wrong" if n else ""
