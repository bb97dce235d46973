"""`bytemill overlap`, for a clone: `python -m scripts.overlap --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("overlap"))
