"""Runs the README's first Python program, and compares what it prints with what stands below it."""

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
# The program, and the indented lines that follow it.
FIRST = re.compile(r"```python\n(?P<program>(?s:.*?))```\n\n(?P<output>(?:    .*\n)+)")


def main() -> int:
    """Returns 1 if the output is another."""
    found = FIRST.search(README.read_text(encoding="utf-8"))
    if found is None:
        print(f"{README}: no Python program with its output below it")
        return 1
    printed, before = io.StringIO(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(printed):
        os.chdir(folder)  # it may write files
        exec(compile(found["program"], str(README), "exec"), {"__name__": "__main__"})
        os.chdir(before)
    expected = re.sub(r"^    ", "", found["output"], flags=re.MULTILINE)
    if printed.getvalue() != expected:
        print(f"the README says:\n{expected}\nit printed:\n{printed.getvalue()}")
        return 1
    lines = found["program"].count("\n")
    print(f"the README's first program, {lines} lines, prints what it says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
