"""The command `bytemill`, also as `python -m bytemill`."""

import sys


def main(prog: str = "bytemill") -> int:
    """Runs the command with the words after its name; returns the exit status.

    Whatever it imports is imported here, so that Ctrl-C is answered from the beginning on.
    """
    try:
        from bytemill.cli.main import main as run

        return run(prog=prog)
    except KeyboardInterrupt:
        print("interrupted: nothing was done", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main("python -m bytemill"))
