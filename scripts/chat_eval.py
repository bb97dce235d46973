"""`bytemill chat-eval`, for a clone: `python -m scripts.chat_eval --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("chat-eval"))
