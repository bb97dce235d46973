"""`bytemill train`, for a clone: `python -m scripts.train --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("train"))
