"""`python -m bytemill`: the command `bytemill`."""

import sys

from bytemill.cli.main import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m bytemill"))
