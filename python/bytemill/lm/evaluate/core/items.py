"""The 22 tasks of CORE, and their items.

CORE is the small-model metric of DataComp-LM (Li et al. 2024, https://arxiv.org/abs/2406.11794):
the mean of 22 accuracies, each centred so that guessing is 0 and all right is 1.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["choice", "schema", "continuation"]
Item = dict[str, Any]

ITEM_SEED: Final = 1337
SHOT_SEED: Final = 1234


@dataclass(frozen=True)
class CoreTask:
    """One task."""

    name: str
    file: str
    """Without ".jsonl"."""
    kind: Kind
    """How it is scored; see `prompts`."""
    shots: int
    """Solved items that stand before the one that is asked."""
    delimiter: str
    """Between what is given and what is to follow."""
    baseline: float
    """The accuracy of guessing, as in DCLM's first table, which nanochat uses, too."""
    baseline_v2: float
    """The same in DCLM's Core_v2."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What every item has."""
        return {
            "choice": ("query", "choices", "gold"),
            "schema": ("context_options", "continuation", "gold"),
            "continuation": ("context", "continuation"),
        }[self.kind]


_ANSWER: Final = "\nAnswer: "
_KINDS: Final[dict[str, Kind]] = {"MC": "choice", "schema": "schema", "LM": "continuation"}


def _task(
    name: str, kind: str, shots: int, delimiter: str, baselines: str, file: str | None = None
) -> CoreTask:
    first, _, second = baselines.partition("/")
    return CoreTask(
        name, file or name, _KINDS[kind], shots, delimiter,
        float(first) / 100, float(second or first) / 100,
    )  # fmt: skip


TASKS: Final = (
    _task("hellaswag_zeroshot", "MC", 0, " ", "25", "hellaswag"),
    _task("jeopardy", "LM", 10, _ANSWER, "0", "jeopardy_all"),
    _task("bigbench_qa_wikidata", "LM", 10, " ", "0"),
    _task("arc_easy", "MC", 10, _ANSWER, "25"),
    _task("arc_challenge", "MC", 10, _ANSWER, "25"),
    _task("copa", "MC", 0, " ", "50"),
    _task("commonsense_qa", "MC", 10, " ", "20/40.3"),
    _task("piqa", "MC", 10, _ANSWER, "50"),
    _task("openbook_qa", "MC", 0, " ", "25"),
    _task("lambada_openai", "LM", 0, " ", "0"),
    _task("hellaswag", "MC", 10, " ", "25"),
    _task("winograd", "schema", 0, " ", "50", "winograd_wsc"),
    _task("winogrande", "schema", 0, " ", "50"),
    _task("bigbench_dyck_languages", "LM", 10, " ", "0"),
    _task("agi_eval_lsat_ar", "MC", 3, " ", "20/25"),
    _task("bigbench_cs_algorithms", "LM", 10, " ", "0"),
    _task("bigbench_operators", "LM", 10, " ", "0"),
    _task("bigbench_repeat_copy_logic", "LM", 10, " ", "0"),
    _task("squad", "LM", 10, " ", "0"),
    _task("coqa", "LM", 0, " ", "0"),
    _task("boolq", "MC", 10, _ANSWER, "62"),
    _task("bigbench_language_identification", "MC", 10, " ", "9.1/25"),
)


def find(folder: Path, task: CoreTask) -> Path | None:
    """The file of a task's items, in a folder or below it; None if it is not there."""
    direct = folder / f"{task.file}.jsonl"
    if direct.is_file():
        return direct
    return min(folder.rglob(f"{task.file}.jsonl"), default=None)


def read_items(path: Path, task: CoreTask) -> list[Item]:
    """All items of a task, shuffled as CORE does.

    Raises:
        ValueError: A line is not an item of the task's kind, or there are no more items than shots.
    """
    items: list[Item] = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            item = json.loads(line)
        except (RecursionError, ValueError) as error:
            raise ValueError(f"{where}: not JSON: {error}") from None
        _check(item, task, where)
        items.append(item)
    if len(items) <= task.shots:
        raise ValueError(
            f"{path}: {task.name} shows {task.shots} other items before each, but there are "
            f"{len(items)} items in all"
        )
    random.Random(ITEM_SEED).shuffle(items)
    return items


def shots(items: Sequence[Item], index: int, n: int) -> list[Item]:
    """The solved items that stand before an item: drawn from all others, by its number alone."""
    if not n:
        return []
    others = [i for i in range(len(items)) if i != index]
    return [items[i] for i in random.Random(SHOT_SEED + index).sample(others, n)]


def _check(item: object, task: CoreTask, where: str) -> None:
    if not isinstance(item, dict):
        raise ValueError(f"{where}: not a JSON object")
    missing = [key for key in task.keys if key not in item]
    if missing:
        raise ValueError(f"{where}: an item of {task.name} has no {missing[0]!r}")
    for key in task.keys:
        value = item[key]
        if key in ("choices", "context_options"):
            is_good = isinstance(value, list) and all(isinstance(text, str) for text in value)
        else:
            is_good = key == "gold" or isinstance(value, str)
        if not is_good:
            raise ValueError(f"{where}: {key!r} of an item of {task.name} is {value!r:.60}")
    if task.kind != "continuation":
        n = len(item["choices" if task.kind == "choice" else "context_options"])
        if not isinstance(item["gold"], int) or not 0 <= item["gold"] < n:
            raise ValueError(f"{where}: gold is {item['gold']!r}, of {n} choices")
