"""What the demo's models are asked, and the table of how they did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from bytemill.chat.conversation import Conversation, Message
from bytemill.chat.render import Renderer
from bytemill.cli.demo.assistant import TRIED, Words
from bytemill.cli.demo.sizes import Size
from bytemill.cli.evaluation import chat_eval
from bytemill.cli.evaluation.results import FOLDER
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.generate.replies import replies
from bytemill.lm.generate.weights import DecodingWeights

COLUMNS: Final = {"model": "BASE", "sft": "SFT", "rl": "RL", "control": "CONTROL"}
"""The runs' folders, and what their columns are called."""
_NEW: Final = "-new-wordings"
_ASKED: Final = (
    "arithmetic",
    f"arithmetic{_NEW}",
    "spelling",
    f"spelling{_NEW}",
    "counting",
    f"counting{_NEW}",
    "identity",
    "arithmetic-3",
    TRIED,
)
_UNSEEN: Final = ("spelling", "counting")
"""Of words that no conversation had."""
_EXCHANGES: Final = (
    "Who are you?",
    "How do you spell 'strawberry'?",
    "How many 'r' are in 'strawberry'?",
    "What is 12 * 345?",
)


def examine(size: Size, run: Path, words: Words) -> None:
    """Asks a run's model what the table says, as `bytemill chat-eval` does."""
    for path, names, place in (
        (words.seen, _ASKED, run / FOLDER),
        (words.unseen, _UNSEEN, run / FOLDER / "unseen"),
    ):
        flags = [
            *("--model", run, "--tasks", *names, "--words", path, "--out", place),
            *("--max-items", size.items, "--max-new-tokens", size.reply_tokens),
            *("--batch-size", 50),
        ]
        if size.threads is not None:
            flags += ["--threads", size.threads]
        chat_eval.run(chat_eval.parser().parse_args([str(flag) for flag in flags]))


def table(out: Path) -> str:
    """How each model did, in percent."""
    columns = [name for name in COLUMNS if (out / name / FOLDER).is_dir()]
    found = [_scores(out / name / FOLDER) for name in columns]
    lines = [["", *(COLUMNS[name] for name in columns)]]
    for task in found[0]:
        lines.append([task, *(f"{100 * scores[task]:.1f}" for scores in found)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _scores(folder: Path) -> dict[str, float]:
    found = {}
    for place, note in ((folder, ""), (folder / "unseen", ", words never seen")):
        results = json.loads((place / "chat.json").read_text(encoding="utf-8"))
        for name, task in results["tasks"].items():
            found[name.replace(_NEW, ", new wordings") + note] = task["score"]
    return found


def write_exchanges(size: Size, run: Path) -> None:
    """Asks a few questions, and prints the answers with the tool's calls in brackets."""
    loaded = load_model(run)
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise ValueError(f"{loaded.path}: there is no tokenizer")
    renderer = Renderer(tokenizer)
    asked = [Conversation((Message("user", text),)) for text in _EXCHANGES]
    with torch.inference_mode():
        answers = replies(
            DecodingWeights(loaded.model),
            renderer,
            [renderer.prompt(conversation) for conversation in asked],
            max_new_tokens=size.reply_tokens,
            temperature=0.0,
        )
    for text, answer in zip(_EXCHANGES, answers, strict=True):
        print(f"    > {text}\n    {shown(answer.message)}\n")


def shown(message: Message) -> str:
    """A message on one line; what is given to the tool, and what it says, in brackets."""
    forms = {"text": "{}", "python": "[{}]", "python_output": "[= {}] "}
    text = "".join(forms[part.type].format(part.text) for part in message.parts)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
