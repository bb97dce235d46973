"""`bytemill evaluate`, for a clone: `python -m scripts.evaluate --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("evaluate"))
