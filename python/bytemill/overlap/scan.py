"""Training data searched for test items: files of text, or shards."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bytemill._arguments import check_limit
from bytemill.data.documents import iter_documents
from bytemill.data.inputs import Paths, expand_inputs
from bytemill.data.shards import Shards
from bytemill.overlap.grams import Ids
from bytemill.overlap.index import Hits, Index
from bytemill.tokenizer.tokenizer import Tokenizer

_CHUNK_CHARS: Final = 1 << 21
_CHUNK_IDS: Final = 1 << 20
# A file's number times this, and a document's in it, are one number, in the order of reading.
_DOCUMENTS: Final = 1 << 40
_NOWHERE: Final = np.iinfo(np.int64).max

Progress = Callable[[int, int], object]


class ItemOverlap(NamedTuple):
    """What of an item the training data holds."""

    task: str
    item: int
    n_grams: int
    """Places in the item's texts where an n-gram begins; 0 for an item that is too short."""
    n_found: int
    """Those whose n-gram is in the training data."""
    n_times: int
    """How often the item's n-grams are in the training data, in all."""
    file: str | None
    """Where the first is found; None if none is."""
    document: int | None
    """The document's number in that file, from 0; empty ones are not counted."""

    @property
    def share(self) -> float:
        """`n_found` of `n_grams`; 0 for an item that is too short."""
        return self.n_found / self.n_grams if self.n_grams else 0.0


@dataclass(frozen=True)
class Overlap:
    """What training data and test items have in common."""

    items: list[ItemOverlap]
    """In the order in which they were given."""
    n_documents: int
    n_bytes: int
    """Of the documents' text in UTF-8; 0 for shards."""
    n_tokens: int


class _Chunk(NamedTuple):
    """Documents of a file; or ids of a shard, where documents may have begun before."""

    file: str
    first: int
    """The number, in the file, of the document that `starts` begins with."""
    n_new: int
    """Documents that begin here."""
    n_bytes: int
    n_tokens: int
    """That are not in another chunk, too."""
    ids: Ids
    starts: npt.NDArray[np.int64]


def find_overlap(
    index: Index,
    tokenizer: Tokenizer,
    paths: Paths = (),
    *,
    shards: Sequence[Shards] = (),
    text_column: str = "text",
    errors: str = "strict",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Overlap:
    """Searches training data for the n-grams of test items.

    Text is encoded as training encodes it, so that n-grams are of the same tokens. A few megabytes
    of text at a time are in memory, beside the index, and a longer document as a whole. The result
    does not depend on the threads.

    Args:
        index: Of the items, made with the same tokenizer.
        tokenizer: Encodes the documents. Its special tokens separate documents in a text.
        paths: Files, folders or globs, as `iter_documents` reads them.
        shards: Ids of this tokenizer, as `open_shards` opens them.
        text_column, errors: As for `iter_documents`.
        num_threads: Threads that encode and search; one for each core by default.
        progress: Called with the bytes read and all bytes of the files; for shards with ids.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `iter_documents`; there is no document;
            shards of another tokenizer.
    """
    for one in shards:
        if one.manifest.fingerprint != tokenizer.fingerprint:
            raise ValueError(
                f"{one.folder}: its ids come from another tokenizer (fingerprint "
                f"{one.manifest.fingerprint}, not {tokenizer.fingerprint})"
            )
    threads = check_limit("num_threads", num_threads) or os.cpu_count() or 1
    times = np.zeros(index.n_grams, np.int64)
    seen = np.zeros(index.n_grams, np.int64)
    files: list[str] = []
    totals = [0, 0, 0]

    def add(chunk: _Chunk, hits: Hits) -> None:
        if not files or files[-1] != chunk.file:
            files.append(chunk.file)
        for i, more in enumerate((chunk.n_new, chunk.n_bytes, chunk.n_tokens)):
            totals[i] += more
        grams, first, n = np.unique(hits.grams, return_index=True, return_counts=True)
        new = times[grams] == 0
        times[grams] += n
        which = np.searchsorted(chunk.starts, hits.places[first[new]], "right") - 1
        seen[grams[new]] = (len(files) - 1) * _DOCUMENTS + chunk.first + which

    def work(chunk: _Chunk | _Texts) -> tuple[_Chunk, Hits]:
        whole = chunk if isinstance(chunk, _Chunk) else _encoded(chunk, tokenizer)
        return whole, _found(index, whole.ids, whole.starts)

    chunks: Iterator[_Chunk | _Texts] = (
        _of_shards(shards, index.n, progress)
        if shards
        else _texts(tokenizer, paths, text_column, errors, progress)
    )
    waiting: deque[Future[tuple[_Chunk, Hits]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > threads + 1:
                    add(*waiting.popleft().result())
            while waiting:
                add(*waiting.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)
    if not totals[2]:
        raise ValueError("the training data is empty: there is no document in it")
    return Overlap(_by_item(index, times, seen, files), *totals)


def _found(index: Index, ids: Ids, starts: npt.NDArray[np.int64]) -> Hits:
    """As `Index.find`, of a part of many ids at a time."""
    hits = []
    for at in range(0, max(len(ids), 1), _CHUNK_IDS):
        # An n-gram may reach into the next part, but must begin in this one.
        piece = ids[at : at + _CHUNK_IDS + index.n - 1]
        low = max(int(np.searchsorted(starts, at, "right")) - 1, 0)
        high = int(np.searchsorted(starts, at + len(piece)))
        found = index.find(piece, np.maximum(starts[low:high] - at, 0))
        hits.append(Hits(found.places + at, found.grams))
    return Hits(*(np.concatenate(parts) for parts in zip(*hits, strict=True)))


def _by_item(
    index: Index, times: npt.NDArray[np.int64], seen: npt.NDArray[np.int64], files: list[str]
) -> list[ItemOverlap]:
    n = len(index.items)
    n_grams = np.bincount(index.owners, minlength=n)
    found = np.flatnonzero((times > 0)[index.grams])
    owners, grams = index.owners[found], index.grams[found]
    n_found = np.bincount(owners, minlength=n)
    firsts = np.full(n, _NOWHERE)
    np.minimum.at(firsts, owners, seen[grams])
    # Of an n-gram that an item has twice, the occurrences count once.
    pairs = np.sort(owners * index.n_grams + grams)
    is_new = np.diff(pairs, prepend=-1) > 0
    each, gram = np.divmod(pairs[is_new], index.n_grams)
    n_times = np.zeros(n, np.int64)
    np.add.at(n_times, each, times[gram])
    figures = (a.tolist() for a in (n_grams, n_found, n_times, firsts))
    result = []
    for item, places, n_hit, often, first in zip(index.items, *figures, strict=True):
        file, document = divmod(first, _DOCUMENTS) if n_hit else (None, None)
        where = None if file is None else files[file]
        result.append(ItemOverlap(item.task, item.number, places, n_hit, often, where, document))
    return result


class _Texts(NamedTuple):
    """Documents of a file that are to be encoded."""

    file: str
    first: int
    texts: list[str]


def _texts(
    tokenizer: Tokenizer, paths: Paths, text_column: str, errors: str, progress: Progress | None
) -> Iterator[_Texts]:
    files = expand_inputs(paths)
    total = sum(file.size for file in files)
    before = 0
    for file in files:
        documents = iter_documents(
            [file.path],
            text_column,
            errors,
            special_tokens=list(tokenizer.special_tokens),
            progress=None if progress is None else _after(before, total, progress),
        )
        first, size, texts = 0, 0, list[str]()
        for document in documents:
            texts.append(document)
            size += len(document)
            if size >= _CHUNK_CHARS:
                yield _Texts(file.shown_path, first, texts)
                first, size, texts = first + len(texts), 0, []
        if texts:
            yield _Texts(file.shown_path, first, texts)
        before += file.size
        if progress is not None:
            progress(before, total)


def _after(before: int, total: int, progress: Progress) -> Callable[[int, int], None]:
    def report(done: int, _: int) -> None:
        progress(before + done, total)

    return report


def _encoded(chunk: _Texts, tokenizer: Tokenizer) -> _Chunk:
    ids, offsets = tokenizer.encode_batch_to_numpy(chunk.texts, 1, allowed_special=())
    starts = offsets[:-1].astype(np.int64)
    # "replace" reads what is not UTF-8 as U+FFFD, so nothing here cannot be encoded.
    n_bytes = sum(len(t) if t.isascii() else len(t.encode()) for t in chunk.texts)
    n = len(chunk.texts)
    return _Chunk(chunk.file, chunk.first, n, n_bytes, len(ids), ids, starts)


def _of_shards(shards: Sequence[Shards], n: int, progress: Progress | None) -> Iterator[_Chunk]:
    total = sum(len(ids) for one in shards for ids in one.arrays)
    done = 0
    for one in shards:
        entries = one.manifest.splits[one.split]
        for entry, ids, documents in zip(entries, one.arrays, one.document_starts, strict=True):
            starts: Any = np.asarray(documents[:-1], np.int64)
            for at in range(0, len(ids), _CHUNK_IDS):
                end = min(at + _CHUNK_IDS, len(ids))
                # An n-gram may reach into the next chunk, but must begin in this one.
                piece = np.asarray(ids[at : min(end + n - 1, len(ids))])
                low = max(int(np.searchsorted(starts, at, "right")) - 1, 0)
                high = int(np.searchsorted(starts, at + len(piece)))
                n_new = int(np.searchsorted(starts, end) - np.searchsorted(starts, at))
                own = np.maximum(starts[low:high] - at, 0)
                file = str(one.folder / entry.file)
                yield _Chunk(file, low, n_new, 0, end - at, piece, own)
                done += end - at
                if progress is not None:
                    progress(done, total)
