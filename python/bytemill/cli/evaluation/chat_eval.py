"""How an assistant does on tasks: questions with choices, sums, programs, spelling.

bytemill chat-eval --model runs/sft --tasks gsm8k arc-easy --data data
bytemill chat-eval --model runs/sft --tasks arithmetic counting --words words.txt --max-items 200
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
from bytemill.cli import model, report
from bytemill.cli.command import EPILOG
from bytemill.cli.evaluation.results import Asked, add_out, asked, ended
from bytemill.cli.progress import Progress
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.chat import TaskScore, chat_core, chat_core_interval
from bytemill.lm.evaluate.chat_run import TaskRun, run_task
from bytemill.tasks.named import CHAT_CORE, NAMED, Sources
from bytemill.tasks.task import Task
from bytemill.tasks.words import default_words, words_in

_WORDED: Final = ("spelling", "counting")


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
        help="items at a time (default: %(default)s)",
    )
    add(
        "--max-new-tokens",
        type=int,
        default=512,
        metavar="N",
        help="tokens of an answer at most (default: %(default)s)",
    )
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
    names = list(dict.fromkeys(args.tasks or CHAT_CORE))
    # First of all: a data set that is missing is said before anything is asked.
    with asked(args) as this:
        with this.ranks.all_or_none():
            tokenizer = model.tokenizer_of(args, this.loaded)
            tasks = _tasks(args, names, tokenizer)
            renderer = Renderer(tokenizer)
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
    print(report.rows(_row(name, run.score) for name, run in runs.items()))
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


def _row(name: str, score: TaskScore) -> tuple[str, str]:
    low, high = score.interval()
    figures = f"{100 * score.score:6.2f} % of {len(score.answers):,}"
    return name, f"{figures} (95 %: {100 * low:.2f} to {100 * high:.2f})"
