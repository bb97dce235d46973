"""The door to `bytemill.cli.evaluate`, for a clone: `python -m scripts.evaluate --help`."""

import sys

from bytemill.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
