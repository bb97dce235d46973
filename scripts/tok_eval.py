"""The door to `bytemill.cli.tok_eval`, for a clone: `python -m scripts.tok_eval --help`."""

import sys

from bytemill.cli.tok_eval import main

if __name__ == "__main__":
    sys.exit(main())
