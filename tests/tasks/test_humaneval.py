"""HumanEval: its shape, the program taken from a reply, and all problems where they are."""

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from bytemill.chat import Message
from bytemill.tasks import HumanEval
from bytemill.tasks.humaneval import imports_of, program_of
from bytemill.tools.sandbox import Limits, available
from tests.support.evaluation import EVAL

LIMITS = Limits(seconds=240.0)  # a busy machine takes long for anything
PROMPT = 'from typing import List\n\n\ndef add(x: int, y: int) -> int:\n    """Adds."""\n'
ROW = {
    "task_id": "HumanEval/0",
    "prompt": PROMPT,
    "canonical_solution": "    return x + y\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n",
    "entry_point": "add",
}


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("def f(): pass", "def f(): pass"),
        ("Sure:\n```python\na = 1\nb = 2\n```\nDone.\n```python\nc\n```", "a = 1\nb = 2"),
        ("```\na\n```", "a"),
        ("```py\na", "a"),
        ("```python\n```", ""),
    ],
)
def test_the_program_of_a_reply(text, program):
    assert program_of(text) == program


def test_imports_of_a_prompt():
    assert imports_of(PROMPT) == "from typing import List"
    assert imports_of("\nimport math\n# x\nfrom a import b\n\ndef f():\n    import c\n") == (
        "import math\nfrom a import b"
    )


@pytest.mark.skipif(available() is None, reason="programs cannot be isolated here")
def test_judging(tmp_path):
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(ROW) + "\n")
    task = HumanEval(tmp_path, limits=LIMITS)
    (item,) = task
    assert item.conversation.messages[0].content == PROMPT
    right = item.conversation.messages[1]
    assert task.judge(item, right) == 1
    assert task.judge(item, Message("assistant", "def add(x: List, y): return y + x")) == 1
    for wrong in ("def add(x, y): return x - y", "", "```python\nexit(0)\n```", "I cannot."):
        assert task.judge(item, Message("assistant", wrong)) == 0
    with pytest.raises(FileNotFoundError, match="openai_humaneval"):
        HumanEval(tmp_path / "none")


@pytest.mark.skipif(
    available() is None or not (EVAL / "humaneval").is_dir(), reason="HumanEval is not here"
)
def test_every_problem():
    task = HumanEval(EVAL / "humaneval", limits=LIMITS)
    assert len(task) == 164

    def both(item):
        broken = f"def {item.more['entry_point']}(*args): return None"
        right = item.conversation.messages[1]
        return task.judge(item, right), task.judge(item, Message("assistant", broken))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assert list(pool.map(both, task)) == [(1, 0)] * 164
