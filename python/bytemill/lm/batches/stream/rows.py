"""Rows of one source: of documents that are encoded on the way, or of a loader of ids on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from bytemill._arguments import check_integer
from bytemill.lm.batches.stream.documents import Documents, Place
from bytemill.lm.batches.stream.encoded import Document, EncodedDocuments
from bytemill.lm.batches.stream.packing import BestFit, Continued, Packer, Packing, Row

if TYPE_CHECKING:
    from torch import Tensor

    from bytemill.tokenizer.tokenizer import Tokenizer

_STATE: Final = 1
"""Version of what `StreamRows` keeps."""


class Rows(Protocol):
    """One endless sequence of rows, whatever makes batches of them."""

    context_length: int
    """Ids in a row, T."""

    def fill(self, x: Row, y: Row) -> None:
        """Writes the next row: ids and targets, (T,) each."""
        ...

    def skip(self) -> None:
        """Moves on by a row."""
        ...

    def snapshot(self) -> Any:
        """Where it is; what it does later does not change it."""
        ...

    def to_json(self, snapshot: Any) -> dict[str, Any]:
        """A snapshot as JSON data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where a snapshot was taken.

        Raises:
            ValueError: The state is damaged, or of other data or settings.
        """
        ...

    def close(self) -> None:
        """Ends its threads."""
        ...


class _At(NamedTuple):
    following: Place
    n_files: int
    packer: Any


class StreamRows:
    """Rows of documents that are read and encoded in background threads.

    Args:
        documents: What `bytemill.lm.batches.stream.documents` offers.
        tokenizer: Encodes them.
        context_length: Ids in a row, T; at least 2.
        bos_id: The id that begins documents.
        packing: "documents": they go on in the next row, and nothing is dropped; "best-fit": each
            row takes what fits best, and something is cropped.
        threads: Background threads.

    Raises:
        ValueError: A size is out of range, or `packing` is unknown.
    """

    def __init__(
        self,
        documents: Documents,
        tokenizer: Tokenizer,
        context_length: int,
        *,
        bos_id: int,
        packing: Packing = "documents",
        threads: int = 2,
    ) -> None:
        if check_integer("context_length", context_length) < 2:
            raise ValueError(f"context_length={context_length}: packed rows need at least 2")
        if not 0 <= check_integer("bos_id", bos_id) < tokenizer.n_vocab:
            raise ValueError(f"bos_id={bos_id}: the tokenizer's ids are below {tokenizer.n_vocab}")
        if packing not in ("documents", "best-fit"):
            raise ValueError(f'packing={packing!r}: it must be "documents" or "best-fit"')
        self._documents, self._tokenizer = documents, tokenizer
        self.context_length, self._bos_id = context_length, bos_id
        self._packing, self._threads = packing, threads
        self._row, self._target = np.empty((2, context_length + 1), np.int64)
        self._digests: list[str] = []
        self._packer = self._new_packer()
        self._following = Place()
        self._encoded: EncodedDocuments | None = None

    def _new_packer(self) -> Packer:
        if self._packing == "documents":
            return Continued(self._bos_id)
        return BestFit(self.context_length)

    def fill(self, x: Row, y: Row) -> None:
        """As `Rows` says."""
        self._packer.fill(self._row, self._target, self._next)
        x[:], y[:] = self._row[:-1], self._target[1:]

    def skip(self) -> None:
        """As `Rows` says. Documents are read and encoded as for `fill`: how many ids they have
        decides where the next row begins."""
        self._packer.skip(self.context_length + 1, self._next)

    @property
    def dropped(self) -> float:
        """The share of ids that were cropped away."""
        return self._packer.dropped if isinstance(self._packer, BestFit) else 0.0

    def _next(self) -> Document:
        if self._encoded is None:
            self._encoded = EncodedDocuments(
                self._documents,
                self._tokenizer,
                self._bos_id,
                self._following,
                self._digests,
                threads=self._threads,
            )
        document = self._encoded.next()
        if document.place.file == len(self._digests):
            self._digests.append(document.digest)
        self._following = document.place.after()
        return document

    def snapshot(self) -> _At:
        """As `Rows` says."""
        return _At(self._following, len(self._digests), self._packer.snapshot())

    def to_json(self, snapshot: _At) -> dict[str, Any]:
        """As `Rows` says."""
        place = self._packer.first_place(snapshot.packer, snapshot.following)
        names = self._documents.identity(snapshot.n_files)
        return {
            "version": _STATE,
            **self._settings(),
            "place": list(place),
            "files": [list(pair) for pair in zip(names, self._digests, strict=False)],
            **self._packer.to_json(snapshot.packer),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Rows` says."""
        expected = {"version": _STATE, **self._settings()}
        for name, value in expected.items():
            if state.get(name) != value:
                raise ValueError(
                    f"the stream's state has {name}={state.get(name)!r}, but this stream has "
                    f"{value!r}: resume with the data and settings of the run that saved it"
                )
        try:
            place = Place.of(state["place"])
            files = [(str(name), str(digest)) for name, digest in state["files"]]
            packer = self._new_packer()
            packer.load(state)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the stream's state is damaged ({error})") from None
        self._check_files([name for name, _ in files])
        self.close()
        self._packer, self._following = packer, place
        self._digests = [digest for _, digest in files]

    def _settings(self) -> dict[str, Any]:
        return {
            "packing": self._packing,
            "context_length": self.context_length,
            "bos_id": self._bos_id,
            "tokenizer": self._tokenizer.fingerprint,
        }

    def _check_files(self, names: list[str]) -> None:
        """ValueError unless the files that were read are the first ones."""
        here = self._documents.identity(len(names) + 1)
        for i, name in enumerate(names):
            if i >= len(here) or here[i] != name:
                found = repr(here[i]) if i < len(here) else "nothing"
                raise ValueError(
                    f"{self._documents.source}: file {i + 1} was {name!r} when the state was "
                    f"saved, and is {found} now: put back what is missing, and give new files "
                    "names that sort behind the old ones"
                )

    def close(self) -> None:
        """As `Rows` says."""
        if self._encoded is not None:
            self._encoded.close()
            self._encoded = None


class Loader(Protocol):
    """What makes batches of ids and targets, and has its sizes in its state; it may have `skip`,
    which moves on by a batch, and `close`."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """The next ones, (B, T) each."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where that begins, with "batch_size" and "context_length"."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state_dict` was taken."""
        ...


class LoaderRows:
    """Rows of ids on disk.

    Args:
        loader: One that makes batches of one row, on the CPU.

    Raises:
        ValueError: It makes batches of more.
    """

    def __init__(self, loader: Loader) -> None:
        state = loader.state_dict()
        if state["batch_size"] != 1:
            raise ValueError(f"batch_size={state['batch_size']}: it must be 1 here")
        self._loader, self.context_length = loader, int(state["context_length"])

    def fill(self, x: Row, y: Row) -> None:
        """As `Rows` says."""
        ids, targets = self._loader.next_batch()
        x[:], y[:] = ids[0].numpy(), targets[0].numpy()

    def skip(self) -> None:
        """As `Rows` says; the row's tokens are not read, where the loader can do without."""
        getattr(self._loader, "skip", self._loader.next_batch)()

    def snapshot(self) -> dict[str, Any]:
        """As `Rows` says."""
        return self._loader.state_dict()

    def to_json(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """As `Rows` says."""
        return snapshot

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Rows` says."""
        self._loader.load_state_dict(state)

    def close(self) -> None:
        """Ends the loader's threads, if it has any."""
        getattr(self._loader, "close", lambda: None)()
