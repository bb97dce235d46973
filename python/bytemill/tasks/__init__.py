"""Tasks: what is asked, and how an answer is judged.

`task` has the class they all are, and views and mixtures of tasks. Each task is a file of its own:
published ones read their data from a folder (`rows`), others make theirs up from a seed.
"""

from bytemill.tasks.arc import Arc
from bytemill.tasks.arithmetic import Arithmetic
from bytemill.tasks.gsm8k import Gsm8k
from bytemill.tasks.humaneval import HumanEval
from bytemill.tasks.identity import Identity
from bytemill.tasks.messages import Messages
from bytemill.tasks.mmlu import Mmlu
from bytemill.tasks.smoltalk import SmolTalk
from bytemill.tasks.task import Chain, Item, Mixture, Slice, Task, Weighted
from bytemill.tasks.words import Counting, Spelling, words_of

__all__ = [
    "Arc",
    "Arithmetic",
    "Chain",
    "Counting",
    "Gsm8k",
    "HumanEval",
    "Identity",
    "Item",
    "Messages",
    "Mixture",
    "Mmlu",
    "Slice",
    "SmolTalk",
    "Spelling",
    "Task",
    "Weighted",
    "words_of",
]
