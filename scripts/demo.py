"""`bytemill demo`, for a clone: `python -m scripts.demo --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("demo"))
