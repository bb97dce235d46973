"""`bytemill plot`, for a clone: `python -m scripts.plot --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("plot"))
