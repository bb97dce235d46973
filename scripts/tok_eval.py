"""`bytemill tok-eval`, for a clone: `python -m scripts.tok_eval --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("tok-eval"))
