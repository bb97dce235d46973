"""`bytemill sft`, for a clone: `python -m scripts.chat_sft --help`."""

import sys

from scripts import enter

if __name__ == "__main__":
    sys.exit(enter("sft", "chat_sft"))
