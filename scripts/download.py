"""`bytemill download`, for a clone: `python -m scripts.download --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("download"))
