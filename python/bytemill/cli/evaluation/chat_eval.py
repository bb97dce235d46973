"""How an assistant does on tasks: questions with choices, sums, programs, spelling.

bytemill chat-eval --model runs/sft --tasks gsm8k arc-easy --data data
bytemill chat-eval --model runs/sft --tasks arithmetic counting --words words.txt --max-items 200
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from bytemill import __version__
from bytemill.chat.render import Renderer
from bytemill.cli import model, report
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.evaluation.base_eval import FOLDER
from bytemill.cli.progress import Progress
from bytemill.files import write_bytes
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.chat import TaskScore, ask, chat_core, score_task
from bytemill.tasks.named import CHAT_CORE, NAMED, Sources
from bytemill.tasks.words import words_of

_WORDED: Final = ("spelling", "counting")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Ask an assistant the items of tasks, and judge its answers. Questions with "
        "choices are answered by the likeliest letter, others by what it writes, greedily.",
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
        help="a text whose words are spelled and counted in (default: none; these tasks need it)",
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
    add("--out", metavar="DIR", help=f"where answers are saved (default: RUN/{FOLDER})")
    add("--unsafe", action="store_true", help="run programs even where they cannot be isolated")
    add("--json", action="store_true", help="print one line of JSON instead of a table")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "nothing was saved")


def run(args: argparse.Namespace) -> None:
    """Loads, asks and prints."""
    names = list(dict.fromkeys(args.tasks or CHAT_CORE))
    words: list[str] = []
    if args.words is not None:
        words = words_of([Path(args.words).read_text(encoding="utf-8")])
    needs = [name for name in names if name.startswith(_WORDED)]
    if needs and not words:
        raise ValueError(f"--tasks {needs[0]}: give --words, a text whose words are asked for")
    # All of them first: a data set that is missing is said before anything is asked.
    sources = Sources(Path(args.data), words, unsafe=args.unsafe)
    tasks = {name: NAMED[name](sources) for name in names}
    loaded, dtype = model.load(args)
    renderer = Renderer(model.tokenizer_of(args, loaded))
    device = next(loaded.model.parameters()).device
    loaded.model.eval()
    out = Path(args.out) if args.out else loaded.path.absolute().parent.parent / FOLDER
    began = time.perf_counter()
    scores: dict[str, TaskScore] = {}
    for name, task in tasks.items():
        n = len(task) if args.max_items is None else min(args.max_items, len(task))
        answers = []
        with Progress(name, "items") as bar:
            for answer in ask(
                loaded.model,
                renderer,
                task,
                max_items=args.max_items,
                batch_size=args.batch_size,
                max_new_tokens=args.max_new_tokens,
                computing=lambda: runtime.autocast(device, dtype),
                dtype=None if dtype == torch.float32 else dtype,
            ):
                answers.append(answer)
                bar.update(len(answers), n)
        scores[name] = score_task(task, answers)
        lines = [json.dumps({**asdict(a), "reply": a.reply.to_dict()["content"]}) for a in answers]
        (out / "chat").mkdir(parents=True, exist_ok=True)
        write_bytes(out / "chat" / f"{name}.jsonl", ("\n".join(lines) + "\n").encode())
    has_core = all(name in scores for name in CHAT_CORE)
    core = chat_core([scores[name] for name in CHAT_CORE]) if has_core else None
    whole = {
        "format": "bytemill-chat-eval",
        "version": 1,
        "bytemill": __version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.perf_counter() - began, 1),
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "max_items": args.max_items,
        "chat_core": core,
        "tasks": {
            name: {
                "items": len(score.answers),
                "score": score.score,
                "centred": score.centred,
                "finished": sum(a.is_finished for a in score.answers),
            }
            for name, score in scores.items()
        },
    }
    write_bytes(out / "chat.json", (json.dumps(whole, indent=1) + "\n").encode())
    if args.json:
        print(json.dumps(whole))
        return
    width = max(len(f"{len(score.answers):,}") for score in scores.values())
    print(
        report.rows(
            (name, f"{100 * score.score:6.2f} % of {len(score.answers):>{width},}")
            for name, score in scores.items()
        )
    )
    if core is not None:
        print(f"\nChatCORE: {core:.4f}")
    print(f"\nsaved: {out / 'chat.json'}")
