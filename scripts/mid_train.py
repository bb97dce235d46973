"""`bytemill mid-train`, for a clone: `python -m scripts.mid_train --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("mid-train"))
