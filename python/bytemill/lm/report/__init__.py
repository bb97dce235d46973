"""A run on one page: what was done, on what, for how long, and what it came to."""

from bytemill.lm.report.contents import comparison, contents, figures
from bytemill.lm.report.page import to_html, to_markdown
from bytemill.lm.report.runs import RunRecord, chain, read_run

__all__ = [
    "RunRecord",
    "chain",
    "comparison",
    "contents",
    "figures",
    "read_run",
    "to_html",
    "to_markdown",
]
