"""The door to `bytemill.cli.train`, for a clone: `python -m scripts.train --help`."""

import sys

from bytemill.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
