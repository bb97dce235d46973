"""Pages made when the documentation is built: every command's help, and the API reference.

MkDocs calls `on_config`, `on_files` and `on_page_markdown`; see "hooks" in mkdocs.yml.
"""

from __future__ import annotations

import ast
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PACKAGE = Path(__file__).parents[1] / "python" / "bytemill"
# Programs, whose help is a page of its own.
LEFT_OUT = ("cli", "gpu_check")
HELP_COLUMNS = "92"
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]`]+)\]\((?P<target>[^)\s:]+)\)")

TOP = ("bytemill.train_bpe", "bytemill.BpeTrainer", "bytemill.Tokenizer", "bytemill.Counts")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the reference's pages to the navigation."""
    pages: list[Any] = ["reference/index.md"]
    pages += [{name: uri(name)} for name, _ in packages()]
    nav = list(config.nav or [])
    at = next(i for i, entry in enumerate(nav) if "Commands" in entry) + 1
    config.nav = [*nav[:at], {"API reference": pages}, *nav[at:]]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the packages."""
    for name, modules in packages():
        content = f"# {name}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, uri(name), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **others: Any) -> str:
    """Fills the pages that are a few words in the repository. Links to files outside of docs/,
    which a reader of the repository can follow, become text."""
    if page.file.src_uri == "commands.md":
        markdown += commands()
    elif page.file.src_uri == "reference/index.md":
        markdown += reference()

    def text_or_link(found: re.Match[str]) -> str:
        target = posixpath.join(posixpath.dirname(page.file.src_uri), found["target"])
        leads_out = posixpath.normpath(target).startswith("../")
        return f"`{found['text']}`" if leads_out else found[0]

    return LINK.sub(text_or_link, markdown)


def commands() -> str:
    """The help of each command, as it is printed."""
    from bytemill.cli.main import parsers

    os.environ |= {"COLUMNS": HELP_COLUMNS, "NO_COLOR": "1"}
    parts = [""]
    for name, parser in parsers().items():
        parts.append(f"## {name}\n\n```text\n{parser.format_help().strip()}\n```\n")
    return "\n".join(parts)


def reference() -> str:
    """The names that `import bytemill` gives."""
    options = "    options: {inherited_members: true, show_root_full_path: false}\n"
    return "\n" + "\n".join(f"::: {name}\n{options}" for name in TOP)


def packages() -> Iterator[tuple[str, list[str]]]:
    """Every package with its modules that document something public, by name."""
    for init in sorted(PACKAGE.rglob("__init__.py")):
        folder = init.parent
        parts = folder.relative_to(PACKAGE.parent).parts
        if len(parts) > 1 and parts[1] in LEFT_OUT:
            continue
        name = ".".join(parts)
        files = [p for p in sorted(folder.glob("*.py")) if not p.stem.startswith("_")]
        modules = [f"{name}.{path.stem}" for path in files if has_public(path)]
        if modules:
            yield name, modules


def has_public(path: Path) -> bool:
    """Whether a module defines a public class or function."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in body)


def uri(package: str) -> str:
    """Where a package's page lies."""
    return f"reference/{package.replace('.', '/')}/index.md"
