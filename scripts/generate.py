"""`bytemill generate`, for a clone: `python -m scripts.generate --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("generate"))
