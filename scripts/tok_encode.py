"""`bytemill tok-encode`, for a clone: `python -m scripts.tok_encode --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("tok-encode"))
