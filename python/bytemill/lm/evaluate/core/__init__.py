"""CORE, the mean of 22 tasks that base models of any size can be told apart by.

`items` has the tasks and reads their files, `prompts` makes rows of ids, `score` scores many at
once, `results` adds up, and `run` does all of it and keeps the answers.
"""

from bytemill.lm.evaluate.core.items import TASKS, CoreTask
from bytemill.lm.evaluate.core.results import CoreResult, TaskResult
from bytemill.lm.evaluate.core.run import run_core

__all__ = ["TASKS", "CoreResult", "CoreTask", "TaskResult", "run_core"]
