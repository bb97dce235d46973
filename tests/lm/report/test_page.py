"""Pages as Markdown and HTML: nothing in a run's text is read as markup."""

import html.parser
from pathlib import Path

import pytest

pytest.importorskip("torch")

from bytemill.lm.report.page import (
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    Verbatim,
    to_html,
    to_markdown,
)

HOSTILE = '<script>alert("x")</script> | `a` ``b``` [x](y) & *c*\n# no head'


class Reader(html.parser.HTMLParser):
    """Tags and text of HTML."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def page(tmp_path):
    (tmp_path / "loss.png").write_bytes(b"\x89PNG")
    table = Table(("", "A|B"), [("row", "1,234"), (HOSTILE, "2")])
    blocks = [table, Paragraph(HOSTILE), Verbatim(HOSTILE), Picture(tmp_path / "loss.png", "loss")]
    return Page(HOSTILE, [Section(HOSTILE, blocks)])


def test_html_shows_text_as_it_is(tmp_path):
    reader = Reader()
    reader.feed(to_html(page(tmp_path)))
    assert "script" not in reader.tags
    # Title, heading, heading of the section, row's name, paragraph, verbatim.
    assert reader.texts.count(HOSTILE) == 6
    assert reader.tags.count("tr") == 3 and reader.tags.count("td") == 2
    # The page needs no other file, and asks for none.
    assert 'src="data:image/png;base64,iVBORw=="' in to_html(page(tmp_path))
    assert "http" not in to_html(page(tmp_path))


def test_markdown_shows_text_as_it_is(tmp_path):
    markdown = pytest.importorskip("markdown")
    text = to_markdown(page(tmp_path))
    made = markdown.markdown(text, extensions=["tables", "fenced_code"])
    reader = Reader()
    reader.feed(made)
    assert "script" not in reader.tags and "em" not in reader.tags and "a" not in reader.tags
    assert reader.tags.count("h1") == reader.tags.count("h2") == 1
    assert reader.tags.count("tr") == 3
    flat = " ".join(HOSTILE.split())
    shown = " ".join("".join(reader.texts).split())
    assert shown.count(flat) == 5
    assert "![loss](loss.png)" in text


def test_a_table_of_numbers():
    one = Page("t", [Section("s", [Table(("", "BASE", "SFT"), [("CORE", "0.1", "")])])])
    assert to_markdown(one) == (
        "# t\n\n## s\n\n|  | BASE | SFT |\n| --- | ---: | ---: |\n| CORE | 0.1 |  |\n"
    )


def test_a_picture_is_named_as_its_file():
    one = Page("t", [Section("s", [Picture(Path("a") / "b.png", "curve")])])
    assert to_markdown(one).endswith("![curve](b.png)\n")
