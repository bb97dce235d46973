"""A tree of settings: several groups that are one JSON file, one list of flags, one object.

Each field of a `Tree` is a group of settings (see `bytemill.lm.settings`), its part of the file.
Fields of all groups have names of their own as flags; `Tree.of` takes them by these names.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import typing
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from bytemill import files
from bytemill.lm.settings import Kind, fault, flag_name, kinds

if typing.TYPE_CHECKING:
    from typing_extensions import Self


class Leaf(NamedTuple):
    """One field of a tree."""

    part: str
    """The group's key in the file."""
    field: dataclasses.Field[Any]
    kind: Kind

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.field.default is dataclasses.MISSING


class Tree:
    """The base of a frozen dataclass whose fields are groups of settings."""

    FORMAT: ClassVar[str]
    """What the file calls itself."""
    VERSION: ClassVar[int]

    def __post_init__(self) -> None:
        for name, group in groups(type(self)).items():
            value = getattr(self, name)
            if not isinstance(value, group):
                raise TypeError(f"{name}={value!r}: it must be of type {group.__name__}")

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Of fields by the names of their flags: `TrainConfig.of(data="shards", out="run",
        depth=4)`; those not given have their defaults.

        Raises:
            TypeError: A field is missing, unknown, or has a value of another type.
            ValueError: A value is out of range.
        """
        known = leaves(cls)
        parts: dict[str, dict[str, Any]] = {name: {} for name in groups(cls)}
        for name, value in fields.items():
            if name not in known:
                raise TypeError(f"{cls.__name__}: unknown field {name!r}{_nearest(name, known)}")
            parts[known[name].part][known[name].field.name] = value
        for name, leaf in known.items():
            if leaf.is_required and name not in fields:
                raise TypeError(f"{cls.__name__}: {name!r} is missing; it has no default")
        return cls(**{name: group(**parts[name]) for name, group in groups(cls).items()})

    def flat(self) -> dict[str, Any]:
        """All fields by the names of their flags; `of` takes them again."""
        return {
            name: getattr(getattr(self, leaf.part), leaf.field.name)
            for name, leaf in leaves(type(self)).items()
        }

    def but(self, **fields: Any) -> Self:
        """The same with other values for some fields, which are named as for `of`."""
        return self.of(**{**self.flat(), **fields})

    def to_dict(self) -> dict[str, Any]:
        """All fields, by part, as JSON data."""
        return {name: dataclasses.asdict(getattr(self, name)) for name in groups(type(self))}

    @classmethod
    def from_dict(cls, parts: dict[str, Any], source: str = "the configuration") -> Self:
        """The reverse of `to_dict`; fields that are not there have their defaults.

        Raises:
            TypeError: A value has another type; the message names the source, part and field.
            ValueError: A value is out of range; a field is missing, unknown, or in the wrong part.
        """
        flat = flat_fields(cls, parts, source)
        for name, leaf in leaves(cls).items():
            if leaf.is_required and name not in flat:
                raise ValueError(f'{source}: "{leaf.part}" has no "{leaf.field.name}"')
        return cls.of(**flat)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file that `load` reads."""
        whole = {"format": self.FORMAT, "version": self.VERSION, **self.to_dict()}
        files.write_bytes(path, (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a file that `save` wrote, or a person.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError, ValueError: The file or a field is wrong; the message names both.
        """
        return cls.from_dict(read_parts(cls, path), os.fspath(path))


def groups(tree: type[Tree]) -> dict[str, type]:
    """A tree's groups by the names of their parts."""
    hints = typing.get_type_hints(tree)
    return {field.name: hints[field.name] for field in dataclasses.fields(cast(Any, tree))}


def leaves(tree: type[Tree]) -> dict[str, Leaf]:
    """A tree's fields by the names of their flags, in order."""
    found: dict[str, Leaf] = {}
    for part, group in groups(tree).items():
        for field in dataclasses.fields(group):
            name = flag_name(field)
            if name in found:
                raise TypeError(f"{part}.{field.name}: {found[name].part} has a flag {name!r}, too")
            found[name] = Leaf(part, field, kinds(group)[field.name])
    return found


def flat_fields(tree: type[Tree], parts: dict[str, Any], source: str) -> dict[str, Any]:
    """The fields of a file's parts by the names of their flags; errors as `Tree.from_dict`, but
    what is missing is not missed: flags may give it."""
    known = leaves(tree)
    flat: dict[str, Any] = {}
    for part, fields in parts.items():
        if part not in groups(tree):
            raise ValueError(f'{source}: unknown key "{part}"{_where(tree, part, None)}')
        if not isinstance(fields, dict):
            raise TypeError(f'{source}: "{part}" holds {fields!r}; it must hold an object')
        of_part = {leaf.field.name: name for name, leaf in known.items() if leaf.part == part}
        for name, value in fields.items():
            if name not in of_part:
                where = _where(tree, name, part)
                raise ValueError(f'{source}: unknown key "{name}" in "{part}"{where}')
            leaf = known[of_part[name]]
            if error := fault(leaf.field, leaf.kind, value):
                raise type(error)(f"{source}: {part}.{name}={value!r}: {error}")
            flat[of_part[name]] = value
    return flat


def _where(tree: type[Tree], name: str, part: str | None) -> str:
    """Where an unknown key belongs, or which one is near."""
    for flag, leaf in leaves(tree).items():
        if name in (leaf.field.name, flag) and leaf.part != part:
            return f'; "{leaf.field.name}" belongs in "{leaf.part}"'
        if name == flag:
            return f'; the key is "{leaf.field.name}"'
    if part is None:
        return _nearest(name, [*groups(tree), *(leaf.field.name for leaf in leaves(tree).values())])
    own = [leaf.field.name for leaf in leaves(tree).values() if leaf.part == part]
    if near := _nearest(name, own):
        return near
    for leaf in leaves(tree).values():
        if difflib.get_close_matches(name, [leaf.field.name], 1, _NEAR):
            return f'; did you mean "{leaf.field.name}" in "{leaf.part}"?'
    return f"; its keys are {', '.join(own)}"


_NEAR = 0.75


def _nearest(name: str, names: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f'; did you mean "{close[0]}"?' if close else ""


def read_parts(tree: type[Tree], path: str | os.PathLike[str]) -> dict[str, Any]:
    """The parts in a file of settings; only the file's format is checked. Errors as `Tree.load`."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; a configuration is a JSON file like RUN/config.json"
        )
    try:
        parts = json.loads(file.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:  # nested too deep, bad UTF-8, bad JSON
        raise ValueError(f"{file}: it is not JSON ({error}); mend it or save it again") from None
    if not isinstance(parts, dict):
        raise ValueError(
            f"{file}: it does not hold a JSON object; a configuration is {{part: {{field: value}}}}"
        )
    if (format := parts.pop("format", tree.FORMAT)) != tree.FORMAT:
        raise ValueError(f'{file}: "format" is {format!r}, not {tree.FORMAT!r}: it is another file')
    if (version := parts.pop("version", tree.VERSION)) != tree.VERSION:
        raise ValueError(
            f"{file}: version {version!r} of the format; this bytemill reads version "
            f"{tree.VERSION}: update bytemill"
        )
    return parts
