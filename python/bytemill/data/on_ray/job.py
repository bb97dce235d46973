"""What all tasks of a run share, and whether a worker is fit for it."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import bytemill
from bytemill import _core
from bytemill._core import Counts
from bytemill.data.on_ray.cluster import ClusterError, Ticket, ray_module
from bytemill.data.on_ray.parts import Part
from bytemill.data.on_ray.reading import BlockPart, FilePart, Rows, TextForm
from bytemill.vocabulary import Vocabulary

PROBE: Final = "Don't  panic: 3.14159 größer\n\n\tif x == 'naïve': 日本語のテキスト 🙂🙃 \r\n"
"""A text that scanners and merges which differ are likely to cut differently."""


Content: TypeAlias = "Part | list[Rows]"
"""A part of files, or which rows of some blocks of a dataset."""


class HasVocabulary(Protocol):
    """A `Tokenizer`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """All that decides ids."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """How texts are read; `expected` is what workers must agree with."""

    key: str
    """Another one for each run."""
    form: TextForm = field(default_factory=TextForm)
    num_threads: int = 1
    expected: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expected", self.probe())

    def probe(self) -> str:
        """What this machine makes of a known text."""
        return ""

    def check(self) -> None:
        """Raises ClusterError unless this machine does what the driver's does."""
        if (found := self.probe()) != self.expected:
            raise ClusterError(
                f"the Ray worker on {socket.gethostname()} makes something else of a known text "
                f"than the driver ({found[:16]} instead of {self.expected[:16]}): its bytemill or "
                f"its tokenizer is another; install one build of bytemill {bytemill.__version__} "
                "on all nodes"
            )

    def reader(self, content: Content, blocks: Sequence[Any], name: str) -> FilePart | BlockPart:
        """What a task is to read."""
        if isinstance(content, tuple):
            return FilePart(content, self.form)
        return BlockPart(list(zip(blocks, content, strict=True)), name, self.form)


@dataclass(frozen=True, kw_only=True)
class CountJob(Job):
    """Counts pretokens."""

    pattern: str
    doc_cap: int | None

    def counting_pass(self) -> _core.CountingPass:
        """One for a part."""
        return _core.CountingPass(
            self.pattern,
            self.form.marks,
            doc_cap=self.doc_cap,
            num_threads=self.num_threads,
            errors=self.form.errors,
        )

    def probe(self) -> str:
        """The pretokens of a known text, as a hash."""
        counting = _core.CountingPass(self.pattern, self.form.marks, num_threads=1)
        counting.feed([PROBE])
        return _hashed(counting.finish().items())

    def empty(self) -> Counts:
        """Counts of nothing."""
        return Counts.from_items(self.pattern, self.form.marks, [])


@dataclass(frozen=True, kw_only=True)
class EncodeJob(Job):
    """Encodes to shards."""

    tokenizer: HasVocabulary
    """Pickled and read again, it is what it says of itself on the worker."""
    dtype: str
    separator: int | None
    separator_first: bool
    validation_fraction: float
    out: Path
    """The folder of shards."""
    parts: Path
    """The folder in it where parts lie until they are in shards."""

    def probe(self) -> str:
        """What decides ids, by content, and the ids of a known text, as a hash."""
        vocabulary = self.tokenizer.vocabulary
        return _hashed([vocabulary.fingerprint, vocabulary.encoder.encode_ordinary(PROBE)])


def _hashed(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


_known: dict[str, Job] = {}


def job_of(ticket: Ticket) -> Any:
    """The job, fetched and checked once in each worker process.

    Raises:
        ClusterError: This machine does not do what the driver's does.
    """
    job = _known.get(ticket.key)
    if job is None:
        # First, as another version may not be able to read it.
        _check_version(ticket.version)
        job = ray_module().get(ticket.job)
        job.check()
        _known.clear()
        _known[ticket.key] = job
    return job


def _check_version(version: str) -> None:
    if bytemill.__version__ != version:
        raise ClusterError(
            f"the Ray worker on {socket.gethostname()} has bytemill {bytemill.__version__}, and "
            f"the driver {version}; install that on all nodes: pip install "
            f"'bytemill[ray]=={version}'"
        )
