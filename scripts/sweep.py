"""`bytemill sweep`, for a clone: `python -m scripts.sweep --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("sweep"))
