"""The door to `bytemill.cli.generate`, for a clone: `python -m scripts.generate --help`."""

import sys

from bytemill.cli.generate import main

if __name__ == "__main__":
    sys.exit(main())
