"""The door to `bytemill.cli.tok_encode`, for a clone: `python -m scripts.tok_encode --help`."""

import sys

from bytemill.cli.tok_encode import main

if __name__ == "__main__":
    sys.exit(main())
