"""Tasks by the names that commands know them by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bytemill.tasks import arithmetic, identity, words
from bytemill.tasks.arc import Arc
from bytemill.tasks.arithmetic import Arithmetic
from bytemill.tasks.gsm8k import Gsm8k
from bytemill.tasks.humaneval import HumanEval
from bytemill.tasks.identity import Identity
from bytemill.tasks.mmlu import Mmlu
from bytemill.tasks.task import Task
from bytemill.tasks.words import Counting, Spelling

Split = Literal["train", "test"]

CHAT_CORE: Final = ("arc-easy", "arc-challenge", "mmlu", "gsm8k", "humaneval")
"""The tasks whose mean is ChatCORE."""
TRIED: Final = 1_000_003
"""The seed of generated items that are for trying: training takes others."""


@dataclass(frozen=True)
class Sources:
    """Where tasks get what they ask."""

    data: Path
    """A folder with a folder for each published data set, by the name of its repository."""
    words: Sequence[str] = ()
    """To spell, and to count letters in."""
    split: Split = "test"
    unsafe: bool = False
    """Run programs even where they cannot be isolated."""


def _tried(split: Split) -> int:
    return TRIED if split == "test" else 0


NAMED: Final[dict[str, Callable[[Sources], Task]]] = {
    "arc-easy": lambda s: Arc(s.data / "ai2_arc", "ARC-Easy", s.split),
    "arc-challenge": lambda s: Arc(s.data / "ai2_arc", "ARC-Challenge", s.split),
    "mmlu": lambda s: Mmlu(s.data / "mmlu", "test" if s.split == "test" else "auxiliary_train"),
    "gsm8k": lambda s: Gsm8k(s.data / "gsm8k", s.split),
    "humaneval": lambda s: HumanEval(s.data / "openai_humaneval", unsafe=s.unsafe),
    "arithmetic": lambda s: Arithmetic(seed=_tried(s.split), size=1000),
    "arithmetic-3": lambda s: Arithmetic(3, seed=_tried(s.split), size=1000),
    "arithmetic-4": lambda s: Arithmetic(4, seed=_tried(s.split), size=1000),
    "arithmetic-new-wordings": lambda s: Arithmetic(
        wordings=arithmetic.WORDINGS_HELD_OUT, seed=_tried(s.split), size=1000
    ),
    "spelling": lambda s: Spelling(s.words, seed=_tried(s.split), size=1000),
    "spelling-new-wordings": lambda s: Spelling(
        s.words, words.SPELL_HELD_OUT, seed=_tried(s.split), size=1000
    ),
    "counting": lambda s: Counting(s.words, seed=_tried(s.split), size=1000),
    "counting-new-wordings": lambda s: Counting(
        s.words, words.COUNT_HELD_OUT, seed=_tried(s.split), size=1000
    ),
    "identity": lambda _: Identity(size=len(identity.WORDINGS) * 5),
    "identity-new-wordings": lambda _: Identity(wordings=identity.WORDINGS_HELD_OUT, size=20),
}
"""What makes each task."""
