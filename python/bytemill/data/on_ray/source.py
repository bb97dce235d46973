"""What a caller names, files or a `ray.data.Dataset` -> parts, in order, on the driver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from bytemill.data.documents import check_readable
from bytemill.data.inputs import InputFile, Paths, expand_inputs
from bytemill.data.on_ray import parts
from bytemill.data.on_ray.job import Content
from bytemill.data.on_ray.reading import Rows, TextForm, no_column

Input: TypeAlias = "Paths | Any"
"""What `bytemill.data.expand_inputs` takes, or a `ray.data.Dataset`."""


class Share(NamedTuple):
    """One part: what a task is given."""

    content: Content
    blocks: list[Any]
    """References to the blocks of a dataset."""
    size: int
    """In bytes: on disk, or in memory."""


class Files:
    """Files that all workers see.

    Raises:
        As `expand_inputs`.
        ImportError: Reading one needs a package that is not installed.
        ValueError: One is a pipe, or JSON lines under another name.
    """

    def __init__(self, paths: Paths, form: TextForm, part_bytes: int | None, least: int) -> None:
        self.files: list[InputFile] = expand_inputs(paths)
        check_readable(self.files, form.text_column, form.errors)
        for file in self.files:
            if not file.path.is_file():
                raise ValueError(
                    f"{file.shown_path}: it is not a file, and what a pipe gives no worker can "
                    "read; write it to a file first"
                )
        self.size = sum(file.size for file in self.files)
        self.part_bytes = part_bytes or parts.default_part_bytes(self.size, least)

    def shares(self, marks: Sequence[str]) -> Iterator[Share]:
        """The parts, cut where `marks` separate documents."""
        for part in parts.partition(self.files, self.part_bytes, marks):
            yield Share(part, [], sum(segment.end - segment.start for segment in part))

    def whole(self) -> list[parts.Part]:
        """All bytes of all files, to be read as such."""
        return parts.partition(self.files, max(self.part_bytes, 1 << 26), (), bare=True)


class Blocks:
    """The blocks of a dataset, in its order.

    Raises:
        ValueError: It has no column of that name.
    """

    def __init__(self, dataset: Any, text_column: str, part_bytes: int) -> None:
        schema = dataset.schema()
        names = [] if schema is None else list(schema.names)
        if schema is not None and names.count(text_column) != 1:
            raise no_column(text_column, names)
        # Where there are other columns, they need not be brought to whoever counts or encodes.
        self._dataset = dataset if len(names) < 2 else dataset.select_columns([text_column])
        self._part_bytes = part_bytes
        self.size = 0

    def shares(self, marks: Sequence[str]) -> Iterator[Share]:
        """The blocks as they come into being, several in one part if they are small."""
        refs: list[Any] = []
        rows: list[Rows] = []
        size = 0
        with _in_order(self._dataset):
            for bundle in self._dataset.iter_internal_ref_bundles():
                slices = bundle.slices or [None] * len(bundle.blocks)
                for entry, some in zip(bundle.blocks, slices, strict=True):
                    refs.append(entry.ref)
                    rows.append(None if some is None else (some.start_offset, some.end_offset))
                    size += entry.metadata.size_bytes or 0
                    if size >= self._part_bytes:
                        yield self._share(rows, refs, size)
                        refs, rows, size = [], [], 0
            if refs:
                yield self._share(rows, refs, size)

    def _share(self, rows: list[Rows], refs: list[Any], size: int) -> Share:
        self.size += size
        return Share(rows, refs, size)


@contextlib.contextmanager
def _in_order(dataset: Any) -> Iterator[None]:
    """Has Ray hand on blocks in the dataset's order, and not as they are ready."""
    options = dataset.context.execution_options
    before = options.preserve_order
    options.preserve_order = True
    try:
        yield
    finally:
        options.preserve_order = before


def is_dataset(value: object) -> bool:
    """Whether it is a `ray.data.Dataset`; without importing Ray."""
    return any(
        kind.__name__ == "Dataset" and kind.__module__.startswith("ray.data")
        for kind in type(value).__mro__
    )


def source_of(value: Input, form: TextForm, part_bytes: int | None, least: int) -> Files | Blocks:
    """Whichever of both `value` is; without `part_bytes` a part has `least` bytes, or of many files
    more."""
    if is_dataset(value):
        return Blocks(value, form.text_column, part_bytes or least)
    return Files(value, form, part_bytes, least)
