"""What the documentation says of code: its Python, the scripts, the keys of a saved folder."""

import ast
import builtins
import re
from pathlib import Path

import pytest

from bytemill.shape import Shape

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = {
    path.relative_to(ROOT).as_posix(): "\n".join(found)
    for path in PAGES
    if (found := BLOCK.findall(path.read_text(encoding="utf-8")))
}
# Pages that need neither files nor models, and what is in what they print. In the others blocks
# are only looked at.
RUN = {
    "README.md": "[257, 259, 269] ['low', 'est', '<|endoftext|>']",
    "docs/conversations.md": "\x1b[32m<|assistant_end|>\x1b[0m",
    "docs/vocabularies.md": "51 18\n{'<|endoftext|>': 399}\n345 18\n[447, 448, 449]",
}


def unknown(code: str) -> set[str]:
    """Names that code uses and nothing in it makes."""
    used, made = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    return used - made


def test_unknown_names_are_found():
    assert unknown("import a.b\nfrom c import d as e\nf = [g for g in a(e)]\nh(f)") == {"h"}


@pytest.mark.parametrize("page", CODE)
def test_python_on_a_page_lacks_nothing(page):
    assert not unknown(CODE[page])


@pytest.mark.parametrize("page", RUN)
def test_python_on_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(CODE[page], page, "exec"), {})
    assert RUN[page] in capsys.readouterr().out


def test_every_script_is_named_and_there():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    part = text[text.index("In a clone") : text.index("Every command")]
    part = re.sub(r"\(`\w+`\)", "", part)  # what the commands of other names are called
    there = {path.stem for path in (ROOT / "scripts").glob("*.py")} - {"__init__"}
    assert set(re.findall(r"`([\w-]+)`", part)) == there


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_a_script_knows_its_own_name(path):
    name, door = re.search(r'enter\("([\w-]+)"(?:, "(\w+)")?\)', path.read_text()).groups()
    assert (door or name.replace("-", "_")) == path.stem


def test_every_key_of_a_shape_is_in_the_page():
    text = (ROOT / "docs" / "file-formats.md").read_text(encoding="utf-8")
    table = text[text.index("The keys of `shape`") :].split("\n\n")[1]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert re.findall(r"`(\w+)`", " ".join(first)) == list(Shape({}).to_state())
