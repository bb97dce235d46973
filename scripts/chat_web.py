"""`bytemill serve`, for a clone: `python -m scripts.chat_web --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("serve", "chat_web"))
