"""The door to `bytemill.cli.demo`, for a clone: `python -m scripts.demo --help`."""

import sys

from bytemill.cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
