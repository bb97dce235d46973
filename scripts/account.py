"""The door to `bytemill.cli.account`, for a clone: `python -m scripts.account --help`."""

import sys

from bytemill.cli.account import main

if __name__ == "__main__":
    sys.exit(main())
