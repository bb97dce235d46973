"""Command-line programs, for a clone: `python -m scripts.NAME --help`."""

import importlib
import sys


def enter(name: str, door: str | None = None) -> int:
    """Runs the program `name` of `bytemill`, and says what to do where there is none.

    `door` is the script that does so, if it is called otherwise.
    """
    try:
        run = importlib.import_module("bytemill.cli.main").run
        status: int = run(name, sys.argv[1:], f"python -m scripts.{door or name.replace('-', '_')}")
        return status
    except ModuleNotFoundError as error:
        if error.name not in ("bytemill", "bytemill._core"):
            raise
        print(
            "error: bytemill is not installed for this Python; stand in the clone's folder, run "
            "`make build` and use .venv/bin/python, or install it: pip install .",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was done", file=sys.stderr)
        return 130
