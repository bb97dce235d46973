"""Flags made of settings: one for each field, grouped by part, and read back into a tree."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

from bytemill.lm.settings import Kind, description, fault
from bytemill.lm.settings_tree import Leaf, Tree, flat_fields, leaves, read_parts

_T = TypeVar("_T", bound=Tree)
_METAVARS: Final = {str: "TEXT", int: "N", float: "X"}
_PATHS: Final = ("data", "val_data", "tokenizer", "out", "init_from")


def flag_of(name: str) -> str:
    """A field's flag: "--batch-size" of "batch_size"."""
    return "--" + name.replace("_", "-")


def add_flags(
    parser: argparse.ArgumentParser,
    tree: type[Tree],
    titles: dict[str, str],
    without: Collection[str] = (),
) -> None:
    """Adds a flag for each field of some parts of a tree.

    The parsed namespace has those that were given, and no others, for `given` to find.

    Args:
        parser: Gets them.
        tree: The settings.
        titles: The parts to add, and what --help calls each.
        without: Flags' names to leave out.
    """
    for part, title in titles.items():
        group = parser.add_argument_group(title)
        for name, leaf in leaves(tree).items():
            if leaf.part == part and name not in without:
                _add(group, name, leaf)


def _add(group: argparse._ArgumentGroup, name: str, leaf: Leaf) -> None:
    text = description(leaf.field).replace("%", "%%")
    common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text, "dest": name}
    if leaf.kind.plain is bool:
        group.add_argument(flag_of(name), action=argparse.BooleanOptionalAction, **common)
    elif leaf.kind.choices:
        group.add_argument(flag_of(name), choices=leaf.kind.choices, **common)
    else:
        metavar = "PATH" if name in _PATHS else _METAVARS[leaf.kind.plain]
        group.add_argument(flag_of(name), type=reader(leaf), metavar=metavar, **common)


def reader(leaf: Leaf) -> Callable[[str], Any]:
    """Reads a flag's value; "none" stands for None where that may be."""
    kind: Kind = leaf.kind

    def read(text: str) -> Any:
        if kind.optional and text == "none":
            return None
        return text if text in kind.words else kind.plain(text)

    read.__name__ = {str: "text", int: "integer", float: "number"}[kind.plain]
    return read


def given(args: argparse.Namespace, tree: type[Tree]) -> dict[str, Any]:
    """The fields that were given as flags, checked.

    Raises:
        TypeError, ValueError: A value that is out of range, named by its flag.
    """
    known = leaves(tree)
    found = {name: value for name, value in vars(args).items() if name in known}
    for name, value in found.items():
        if error := fault(known[name].field, known[name].kind, value):
            raise type(error)(f"{flag_of(name)} {value}: {error}")
    return found


def read_tree(tree: type[_T], file: str | None, flags: dict[str, Any]) -> _T:
    """The settings of a file, if there is one, with flags over them.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError, ValueError: Something in the file is wrong, or a field is missing in both.
    """
    fields = flat_fields(tree, read_parts(tree, file), file) if file is not None else {}
    merged = {**fields, **flags}
    if missing := _missing(tree, merged):
        raise ValueError(f"{', '.join(map(flag_of, missing))}: missing")
    return tree.of(**merged)


def _missing(tree: type[Tree], fields: Iterable[str]) -> list[str]:
    there = set(fields)
    return [name for name, leaf in leaves(tree).items() if leaf.is_required and name not in there]
