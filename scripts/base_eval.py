"""`bytemill base-eval`, for a clone: `python -m scripts.base_eval --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("base-eval"))
