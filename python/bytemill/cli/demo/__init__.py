"""`make demo`: the whole way, from Python source to a small model that writes."""

from bytemill.cli.demo.program import main, parser

__all__ = ["main", "parser"]
