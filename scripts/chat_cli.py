"""`bytemill chat`, for a clone: `python -m scripts.chat_cli --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("chat", "chat_cli"))
