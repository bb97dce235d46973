"""Documents -> ids, some pieces ahead, in background threads; the order stays."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bytemill.lm.batches.stream.documents import Documents, Place, Texts

if TYPE_CHECKING:
    from bytemill.tokenizer.tokenizer import Tokenizer

Ids = npt.NDArray[np.unsignedinteger[Any]]


class Document(NamedTuple):
    """A document's ids."""

    place: Place
    digest: str
    """Of the file it is in."""
    ids: Ids
    """Beginning with BOS; a view of those of its whole piece."""


class _Encoded(NamedTuple):
    number: int
    """Of the piece, from 0."""
    texts: Texts
    which: list[int]
    """The documents' numbers in the piece: empty ones are left out."""
    ids: Ids
    starts: list[int]
    """Where each document begins, and the end of the last."""


class _Failed(NamedTuple):
    number: int
    error: Exception


class EncodedDocuments:
    """The documents from a place on, encoded.

    Special tokens in a text are text like any other.

    Args:
        documents: Where they come from.
        tokenizer: Encodes them.
        bos_id: Put before each.
        place: Of the first.
        digests: Of the files that were read before.
        threads: Background threads.
    """

    def __init__(
        self,
        documents: Documents,
        tokenizer: Tokenizer,
        bos_id: int,
        place: Place,
        digests: Sequence[str] = (),
        *,
        threads: int = 2,
    ) -> None:
        self._source, self._tokenizer, self._bos_id = documents.source, tokenizer, bos_id
        self._pieces = documents.pieces(place, digests)
        self._reading = threading.Lock()
        self._number = 0
        self._pool = ThreadPoolExecutor(threads, "bytemill-stream")
        self._ahead = 2 * threads
        self._pending: deque[Future[_Encoded | _Failed]] = deque()
        self._early: dict[int, _Encoded | _Failed] = {}
        self._error: Exception | None = None
        """What ended the reading, perhaps ahead of what has been handed on."""
        self._raised: Exception | None = None
        self._documents = self._in_order()

    def next(self) -> Document:
        """The next document.

        Raises:
            ValueError: A file is damaged, or has changed; there are no documents.
        """
        if self._raised is None:
            try:
                return next(self._documents)
            except Exception as error:
                self._raised = error
        raise self._raised

    def close(self) -> None:
        """Ends the threads, which finish the pieces they have begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _in_order(self) -> Iterator[Document]:
        number = 0
        last_epoch: int | None = None
        while True:
            piece = self._piece(number)
            number += 1
            if isinstance(piece, _Failed):
                raise piece.error
            place = piece.texts.place
            if last_epoch is None or piece.which:
                last_epoch = place.epoch
            elif place.epoch > last_epoch + 1:
                raise ValueError(f"{self._source}: none of its documents has any text")
            for i, which in enumerate(piece.which):
                yield Document(
                    place._replace(document=place.document + which),
                    piece.texts.digest,
                    piece.ids[piece.starts[i] : piece.starts[i + 1]],
                )

    def _piece(self, number: int) -> _Encoded | _Failed:
        """The piece of a number; as many as `_ahead` are being made at a time."""
        while number not in self._early:
            while len(self._pending) < self._ahead:
                self._pending.append(self._pool.submit(self._encode))
            # Which piece a thread has taken is known only when it is done.
            piece = self._pending.popleft().result()
            self._early[piece.number] = piece
        return self._early.pop(number)

    def _encode(self) -> _Encoded | _Failed:
        # An error waits until all that was before it has been handed on.
        with self._reading:
            number = self._number
            self._number += 1
            if self._error is None:
                try:
                    texts = next(self._pieces)
                except Exception as error:
                    self._error = error
            if self._error is not None:
                return _Failed(number, self._error)
        try:
            return self._encoded(number, texts)
        except Exception as error:
            return _Failed(number, error)

    def _encoded(self, number: int, texts: Texts) -> _Encoded:
        found = texts.read()
        which = [i for i, text in enumerate(found) if text]
        batch = [text for text in found if text]
        ids, offsets = self._tokenizer.encode_batch_to_numpy(batch, 1, allowed_special=set())
        starts = offsets.astype(np.int64)
        with_bos: Ids = np.insert(ids, starts[:-1], self._bos_id)
        return _Encoded(number, texts, which, with_bos, (starts + np.arange(len(starts))).tolist())
