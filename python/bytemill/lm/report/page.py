"""A page of sections, as Markdown and as HTML.

Text that comes from a run, such as a model's samples, is shown as it is: neither form reads markup
in it.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias


@dataclass(frozen=True)
class Table:
    """Rows of cells below a head; the first column names the row."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Verbatim:
    """Text with its line ends, as a model wrote it."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG."""

    path: Path
    """Markdown names the file, which therefore lies beside it; HTML contains it."""
    what: str
    """What is to be seen, for those who don't."""


Block: TypeAlias = "Table | Paragraph | Verbatim | Picture"


@dataclass(frozen=True)
class Section:
    """A title, and what comes below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """All of it."""

    title: str
    sections: Sequence[Section]


def to_markdown(page: Page) -> str:
    """The page as GitHub's Markdown."""
    lines = [f"# {_escaped(page.title)}", ""]
    for section in page.sections:
        lines += [f"## {_escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines)


def _markdown(block: Block) -> list[str]:
    if isinstance(block, Table):
        rule = ["---", *["---:"] * (len(block.head) - 1)]
        body = [[_escaped(cell) for cell in row] for row in (block.head, *block.rows)]
        return ["| " + " | ".join(row) + " |" for row in (body[0], rule, *body[1:])]
    if isinstance(block, Paragraph):
        return [_escaped(block.text)]
    if isinstance(block, Verbatim):
        # A fence is longer than any that stands in the text.
        longest = max(map(len, re.findall(r"`+", block.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return [fence, *block.text.splitlines(), fence]
    return [f"![{_escaped(block.what)}]({block.path.name})"]


def _escaped(text: str) -> str:
    """Text in which Markdown reads nothing, on one line."""
    return re.sub(r"[&<>|~]|[\\`*_{}\[\]#!]", _as_itself, " ".join(text.split()))


def _as_itself(found: re.Match[str]) -> str:
    # What not all dialects let a backslash stand before.
    return f"&#{ord(found[0])};" if found[0] in "&<>|~" else f"\\{found[0]}"


_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td { font-variant-numeric: tabular-nums; }
pre { padding: .75rem; background: #8882; white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; background: #fff; }
"""


def to_html(page: Page) -> str:
    """The page as one file of HTML, which needs no other."""
    title = html.escape(page.title)
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{title}</h1>",
    ]
    for section in page.sections:
        lines += [f"<section><h2>{html.escape(section.title)}</h2>"]
        lines += [_html(block) for block in section.blocks]
        lines += ["</section>"]
    return "\n".join([*lines, "</main></body></html>", ""])


def _html(block: Block) -> str:
    if isinstance(block, Table):
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in block.head)
        rows = "".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in block.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div class="wide">{table}</div>'
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Verbatim):
        return f"<pre>{html.escape(block.text)}</pre>"
    data = base64.b64encode(block.path.read_bytes()).decode()
    return f'<img alt="{html.escape(block.what)}" src="data:image/png;base64,{data}">'
