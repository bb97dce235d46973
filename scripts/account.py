"""`bytemill account`, for a clone: `python -m scripts.account --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("account"))
