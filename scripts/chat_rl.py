"""`bytemill rl`, for a clone: `python -m scripts.chat_rl --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("rl", "chat_rl"))
