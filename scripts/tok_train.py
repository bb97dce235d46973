"""The door to `bytemill.cli.tok_train`, for a clone: `python -m scripts.tok_train --help`."""

import sys

from bytemill.cli.tok_train import main

if __name__ == "__main__":
    sys.exit(main())
