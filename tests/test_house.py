"""The house: sizes of files and folders, no circle between files, tests that stand alone.

Which floor may import which is in pyproject.toml, for import-linter.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "bytemill"
MAX_LINES = 400
MAX_FILES = 16
FILES = sorted(PACKAGE.rglob("*.py"))


def modules(root: Path, name: str) -> dict[str, Path]:
    """The modules of the package `name` in the folder `root`, with their files.

    What is not Python, such as the Rust core, counts by its stub.
    """
    found = {}
    for path in sorted([*root.rglob("*.pyi"), *root.rglob("*.py")]):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join((name, *parts))] = path
    return found


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, ...]]:
    """For each name that is imported, anywhere in a file, what it can be: a module, or in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.name,)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                origin = ".".join([*parents, *filter(None, [origin])])
            for alias in node.names:
                yield f"{origin}.{alias.name}", origin


def graph(root: Path, name: str) -> dict[str, set[str]]:
    """Which modules of a package import which, imports for type checkers and in functions too."""
    known = modules(root, name)
    edges: dict[str, set[str]] = {}
    for module, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        candidates = imports(tree, module, path.name == "__init__.py")
        found = (next((c for c in choice if c in known), None) for choice in candidates)
        edges[module] = {target for target in found if target is not None} - {module}
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that reach each other (strongly connected, Tarjan 1972)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for target in sorted(edges[node]):
            if target not in number:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in stack:
                lowest[node] = min(lowest[node], number[target])
        if lowest[node] == number[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_short(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{n_lines} lines: look for a second room in it"


def test_a_file_outside_of_the_package_is_short():
    beside = ("tests", "benchmarks", "fuzz", "examples", "scripts")
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in beside
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(lines) > 200
    assert not {path: n for path, n in lines.items() if n > MAX_LINES}


def test_a_folder_is_small():
    folders = {path.parent for path in FILES}
    too_full = {str(f): n for f in folders if (n := len(list(f.glob("*.py")))) > MAX_FILES}
    assert not too_full


def test_no_circle_between_files():
    assert circles(graph(PACKAGE, "bytemill")) == []


def test_circles_are_found(tmp_path):
    (tmp_path / "room").mkdir()
    for name, text in {
        "__init__.py": "from p.room.a import A\n",
        "above.py": "from p import room\nimport p.room.b\n",
        "room/__init__.py": "",
        "room/a.py": "if TYPE_CHECKING:\n    from .b import B\n",
        "room/b.py": "def f():\n    from p.room import c\n",
        "room/c.py": "from ..room.a import A\nfrom p import rust\nimport json\n",
        "room/d.py": "from p import A\n",
        "rust.pyi": "from p.room.c import C\n",
    }.items():
        (tmp_path / name).write_text(text)
    edges = graph(tmp_path, "p")
    assert edges["p.above"] == {"p.room", "p.room.b"}
    assert edges["p.room.d"] == {"p"}
    assert circles(edges) == [["p.room.a", "p.room.b", "p.room.c", "p.rust"]]
    (tmp_path / "room" / "a.py").write_text("import p\n")
    (tmp_path / "rust.pyi").unlink()
    assert circles(graph(tmp_path, "p")) == [["p", "p.room.a"]]


def test_no_test_imports_another():
    known = modules(ROOT / "tests", "tests")
    tests = {module for module in known if module.split(".")[-1].startswith(("test_", "conftest"))}
    edges = graph(ROOT / "tests", "tests")
    assert len(tests) > 40
    found = {module: targets & tests for module, targets in edges.items() if targets & tests}
    assert not found
