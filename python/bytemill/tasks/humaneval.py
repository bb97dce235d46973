"""HumanEval: functions to be written (Chen et al. 2021, https://arxiv.org/abs/2107.03374)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from bytemill.chat.conversation import Conversation, Message
from bytemill.tasks.rows import StrPath, rows
from bytemill.tasks.task import Item, Task, known_content
from bytemill.tools.sandbox import Limits, passes_tests

_BLOCK: Final = re.compile(r"```(?:python|py)?[^\S\n]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)


class HumanEval(Task):
    """HumanEval's problems; an answer is judged by running its tests in a sandbox.

    Args:
        folder: The dataset openai/openai_humaneval as published, or a folder with
            HumanEval.jsonl or HumanEval.jsonl.gz.
        limits: Of each of a problem's two processes.
        unsafe: Run programs even where they cannot be isolated.

    Raises:
        FileNotFoundError: The files are not there; the message says how to get them.
    """

    name = "HumanEval"

    def __init__(
        self,
        folder: StrPath,
        limits: Limits = Limits(),  # noqa: B008
        *,
        unsafe: bool = False,
    ) -> None:
        self._rows = rows(
            folder,
            ["HumanEval.jsonl.gz", "openai_humaneval/test-*.parquet", "HumanEval.jsonl"],
            f"get it with: bytemill download hf:openai/openai_humaneval --out {folder}",
        )
        self._limits, self._unsafe = limits, unsafe

    def __len__(self) -> int:
        """How many problems there are."""
        return len(self._rows)

    def item(self, index: int) -> Item:
        """A problem; `more` has its prompt, its tests and the function's name."""
        names = ("prompt", "canonical_solution", "test", "entry_point")
        prompt, solution, test, entry_point = self._rows.texts(index, *names)
        reply = f"```python\n{prompt}{solution}\n```"
        conversation = Conversation((Message("user", prompt), Message("assistant", reply)))
        more = {"prompt": prompt, "test": test, "entry_point": entry_point}
        return Item(conversation, solution, more=more)

    def content(self, indices: Sequence[int] | None = None) -> str:
        """By the files' bytes."""
        return known_content(self, self._rows.content, indices)

    def judge(self, item: Item, reply: Message) -> float:
        """1 if the program passes the problem's tests.

        The program is the imports of the prompt and the first fenced block of the reply, or all of
        the reply if there is none.

        Raises:
            bytemill.tools.sandbox.SandboxUnavailable: Programs cannot be isolated here.
        """
        prompt, tests, entry_point = (item.more[k] for k in ("prompt", "test", "entry_point"))
        found = passes_tests(
            f"{imports_of(prompt)}\n{program_of(reply.text)}",
            tests,
            entry_point,
            setup=prompt,
            limits=self._limits,
            unsafe=self._unsafe,
        )
        return float(found.passed)


def program_of(text: str) -> str:
    """The first fenced block of a text, or all of it."""
    match = _BLOCK.search(text)
    return match[1].removesuffix("\n") if match else text


def imports_of(prompt: str) -> str:
    """The lines of imports at the beginning of a prompt."""
    lines = []
    for line in prompt.splitlines():
        if line.startswith(("import ", "from ")):
            lines.append(line)
        elif line.strip() and not line.startswith("#"):
            break
    return "\n".join(lines)
