"""Evaluation data that is not in the repository: the tests that want it skip without it."""

import os
from pathlib import Path

EVAL = Path(os.environ.get("BYTEMILL_EVAL", Path(__file__).resolve().parents[2] / "../shared/eval"))
