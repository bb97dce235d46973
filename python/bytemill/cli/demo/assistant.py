"""The demo's last part: a base model -> an assistant, by the stages that there are for it."""

from __future__ import annotations

import argparse
import shlex
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bytemill.cli import formatting
from bytemill.cli.demo.sizes import Size
from bytemill.cli.demo.tokenizer import Sources
from bytemill.cli.stages import rl, sft
from bytemill.data import iter_documents
from bytemill.files import write_bytes
from bytemill.lm.train import Result
from bytemill.lm.train.saved_run import CONFIG
from bytemill.tasks.words import words_of

TRIED: Final = "arithmetic-4"
"""What reinforcement learning is to improve: sums of four numbers."""
SFT_TASKS: Final = (
    "0.5=spelling; 0.22=counting; 0.205=arithmetic; 0.015=arithmetic-3; 0.06=identity"
)
"""What conversations teach: few sums of three numbers, and none of four."""
RL_TASKS: Final = f"0.6={TRIED}; 0.15=arithmetic-3; 0.25=arithmetic"
"""What is asked in reinforcement learning: shorter sums, too. Of spelling and counting, which are
nearly always right, a trial would say little; replay keeps them."""
_REPLAYED_ROWS: Final = 4
_RL_FACTOR: Final = 0.15
"""Of the base model's learning rates; these are those of SFT, too."""
_UNSEEN: Final = 10
"""One word of so many is not trained on."""


@dataclass(frozen=True)
class Words:
    """Files of words, the most frequent first."""

    seen: Path
    """To train on."""
    unseen: Path
    """To ask only."""


def write_words(sources: Sources, out: Path) -> Words:
    """Writes the words of the text that the tokenizer was trained on into two files."""
    found = words_of(list(iter_documents(sources.train, errors="replace")))
    words = Words(out / "seen.txt", out / "unseen.txt")
    out.mkdir(parents=True, exist_ok=True)
    counts = []
    for path, wanted in ((words.seen, False), (words.unseen, True)):
        some = [w for w in found if (zlib.crc32(w.encode()) % _UNSEEN == 0) is wanted]
        write_bytes(path, ("\n".join(some) + "\n").encode())
        counts.append(formatting.count(len(some), "word"))
    print("\n6. Words to spell and to count letters in, of the same text\n")
    lines = [
        ("to train on", f"{counts[0]}, {words.seen}"),
        ("to ask only", f"{counts[1]}, {words.unseen}"),
    ]
    print(formatting.rows(lines))
    return words


def converse(size: Size, out: Path, words: Words, seed: int, *, timed: bool) -> None:
    """Fine-tuning on generated conversations, into `out`/sft."""
    steps = size.sft_steps
    title = "7. Supervised fine-tuning: what an assistant writes, by generated conversations"
    flags = [
        *("--init-from", out / "model", "--tasks", SFT_TASKS, "--words", words.seen),
        *("--rows", "best-fit", "--batch-size", size.sft_batch_size, "--steps", steps),
        *("--lr-factor", 1, "--warmup-steps", 10, "--decay-fraction", 0.6, "--grad-clip", "none"),
        *("--eval-every", max(steps // 4, 1), "--eval-tokens", size.eval_tokens // 8),
        *("--ask-every", 0, "--checkpoint-every", max(steps // 8, 1)),
    ]
    flags += _limit(size.sft_minutes, timed)
    _train(title, "sft", sft.parser(), sft.run, flags, size, out / "sft", seed)


def reinforce(size: Size, out: Path, words: Words, seed: int, *, timed: bool) -> None:
    """Reinforcement learning on sums of four numbers, which no conversation had, into `out`/rl."""
    title = f"8. Reinforcement learning: {TRIED}, by trial, with replayed conversations"
    flags = [
        *("--init-from", out / "sft", "--tasks", RL_TASKS, "--words", words.seen),
        *("--questions", size.rl_questions, "--samples", size.rl_samples),
        *("--max-new-tokens", size.reply_tokens, "--replay-rows", _REPLAYED_ROWS),
        *("--lr-factor", _RL_FACTOR, "--decay-fraction", 0.5, "--steps", size.rl_steps),
        *("--eval-every", 0, "--eval-problems", max(size.items // 2, 2), "--eval-samples", 2),
        *("--checkpoint-every", max(size.rl_steps // 2, 1), "--log-every", 5),
    ]
    flags += _limit(size.rl_minutes, timed)
    _train(title, "rl", rl.parser(), rl.run, flags, size, out / "rl", seed)


def replay(size: Size, out: Path, words: Words, seed: int) -> None:
    """The control: what RL replays, without its trials, into `out`/control."""
    title = "9. The control: the same replayed conversations, and no trials"
    flags = [
        *("--init-from", out / "sft", "--tasks", SFT_TASKS, "--words", words.seen),
        *("--rows", "best-fit", "--batch-size", _REPLAYED_ROWS, "--steps", size.rl_steps),
        *("--lr-factor", _RL_FACTOR, "--decay-fraction", 0.5),
        *("--eval-every", 0, "--eval-tokens", size.eval_tokens // 8, "--ask-every", 0),
    ]
    _train(title, "sft", sft.parser(), sft.run, flags, size, out / "control", seed)


def _limit(minutes: float | None, timed: bool) -> list[object]:
    return ["--minutes", minutes] if timed and minutes is not None else []


def _train(
    title: str,
    name: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], Result],
    flags: list[object],
    size: Size,
    out: Path,
    seed: int,
) -> None:
    """Runs a stage as its program does, or goes on with it; shows the command line."""
    flags = [*flags, "--seed", seed, "--out", out]
    if size.threads is not None:
        flags += ["--threads", size.threads]
    words = [str(flag) for flag in flags]
    print(f"\n{title}\n\n    bytemill {name} {shlex.join(words)}\n")
    if (out / CONFIG).is_file():
        words.append("--resume")
    if not run(parser.parse_args(words)).is_finished:
        raise KeyboardInterrupt
