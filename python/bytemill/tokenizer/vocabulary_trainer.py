"""Training: documents -> pretoken counts -> merges -> a vocabulary."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from bytemill import _arguments, _core, patterns
from bytemill._core import Counts
from bytemill._types import TieBreak
from bytemill.files import raising_memory_error
from bytemill.vocabulary import Vocabulary

if TYPE_CHECKING:
    from bytemill.data.documents import Progress
    from bytemill.data.inputs import Paths

_TEXTS: Final = "an iterable of str; for a single text pass [text]"


class VocabularyTrainer:
    """Counts pretokens and learns merges; `BpeTrainer` says how, and makes a `Tokenizer`."""

    def __init__(
        self,
        *,
        pattern: str = "gpt2",
        special_tokens: Iterable[str] = (),
        tie_break: TieBreak = "lexicographic",
        doc_cap: int | None = None,
        max_chars: int | None = None,
        min_frequency: int = 1,
        max_token_length: int | None = None,
        superwords_from: int | None = None,
        superwords_pattern: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._pretoken_pattern = patterns.canonical(pattern)
        self._superwords_from = _arguments.check_limit("superwords_from", superwords_from)
        self._pat_str = self._pretoken_pattern
        if superwords_from is not None:
            self._pat_str = patterns.of_spans(self._pretoken_pattern, superwords_pattern)
        elif superwords_pattern is not None:
            raise ValueError(
                f"superwords_pattern={superwords_pattern!r}: without superwords_from no token "
                "spans pretokens; give that too"
            )
        self._special_tokens = _arguments.check_special_tokens(special_tokens)
        self._tie_break = _arguments.check_tie_break(tie_break)
        self._doc_cap = _arguments.check_limit("doc_cap", doc_cap)
        self._chars_left = _arguments.check_limit("max_chars", max_chars)
        self._min_frequency = _arguments.check_limit("min_frequency", min_frequency) or 1
        self._max_token_length = _arguments.check_limit("max_token_length", max_token_length)
        self._num_threads = _arguments.check_limit("num_threads", num_threads)
        self._counts = Counts.from_items(self._pat_str, self._special_tokens, [])
        # Held while `_counts` and `_chars_left` are used; again by a feed inside of a feed.
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**{k: v for k, v in vars(self).items() if k != "_lock"}, "_counts": self.counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    @property
    def pat_str(self) -> str:
        """The regex that cuts text into what is counted, the pattern of the tokenizer to come.

        That is pretokens, or with `superwords_from` spans.
        """
        return self._pat_str

    @property
    def special_tokens(self) -> list[str]:
        """The special tokens, in the order of their ids."""
        return list(self._special_tokens)

    @property
    def counts(self) -> Counts:
        """The pretoken counts so far: `trainer.counts.save(path)` keeps them for another run.

        A copy: what is fed later is not in it, and what is merged into it is not trained on.
        """
        copy = Counts.from_items(self._pat_str, self._special_tokens, [])
        with self._lock:
            copy.merge(self._counts)
        return copy

    def add_counts(self, counts: Counts) -> None:
        """Adds counts made before: `trainer.add_counts(Counts.load(path))`.

        `doc_cap` and `max_chars` do not apply to them.

        Raises:
            TypeError: `counts` is not a `Counts`.
            ValueError: They were made with another pattern or other special tokens.
        """
        if not isinstance(counts, Counts):
            raise TypeError(f"counts={_arguments.shown(counts)}: expected a bytemill.Counts")
        with self._lock:
            self._counts.merge(counts)

    def feed(self, texts: Iterable[str]) -> None:
        """Counts texts; each is a document, or several with special tokens between them.

        They are taken one after another and not kept. Surrogates are treated as in tiktoken: a pair
        is the character it stands for, a lone one is U+FFFD. If anything is raised, nothing is
        counted.

        Raises:
            TypeError: `texts` is a str, a dict or not iterable, or an item is not a str.
            ValueError: `texts` is a list or tuple of nothing but paths that exist.
            Exception: Whatever the iterable raises, unchanged.
        """
        _arguments.check_iterable("texts", texts, _TEXTS)
        if isinstance(texts, Mapping):
            raise TypeError(
                f"texts={_arguments.shown(texts)}: expected {_TEXTS}; counts of pretokens are "
                "given to add_counts, as Counts"
            )
        if isinstance(texts, (list, tuple)) and texts and all(map(_is_path, texts)):
            raise ValueError(
                f"{texts[0]!r} is a path that exists, as all of these texts are: to read the files "
                "use feed_files (or pass them as pathlib.Path to Tokenizer.train); to count these "
                "words themselves pass iter([...])"
            )
        with self._turn():
            if self._chars_left == 0:
                return
            counting = self._counting_pass("strict", None)
            counting.feed(texts)
            self._finish(counting)

    @raising_memory_error()
    def feed_files(
        self,
        paths: Paths,
        *,
        text_column: str = "text",
        errors: str = "strict",
        progress: Progress | None = None,
    ) -> None:
        """Counts the documents of files. If anything is raised, nothing is counted.

        Read are plain text (.txt, and any file of another extension that is named), .jsonl and
        .parquet, each also as .gz or .zst. `bytemill.data.expand_inputs` says what folders and
        globs stand for and `bytemill.data.iter_documents` what a document is.

        Args:
            paths: A path, a folder or a glob, or several.
            text_column: The key (.jsonl) or column (.parquet) that holds the text.
            errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads
                U+FFFD.
            progress: Called a few times a second with the bytes read and all bytes of the files, on
                disk. What it raises ends the call.

        Raises:
            FileNotFoundError, PermissionError: A path cannot be read.
            ValueError: A file is truncated, corrupt, not UTF-8, or lacks the column; the message
                names the file and the place.
            ImportError: A .parquet or .zst file needs a package that is not installed.
        """
        # Here, because the readers of files take longer to import than the rest of bytemill.
        from bytemill.data.documents import Feeder, check_errors
        from bytemill.data.inputs import expand_inputs

        check_errors(errors)
        feeder = Feeder(expand_inputs(paths), text_column, errors, progress)
        with self._turn():
            if self._chars_left == 0:
                return
            counting = self._counting_pass(errors, feeder.on_bytes if progress else None)
            feeder.feed(counting)
            self._finish(counting)

    def train_vocabulary(
        self, vocab_size: int, *, progress: Progress | None = None, stacklevel: int = 2
    ) -> Vocabulary:
        """What `BpeTrainer.train` learns, without a `Tokenizer` around it.

        Args:
            vocab_size: The most tokens to have, the 256 bytes and the special tokens included.
            progress: Called with the merges learned and the merges wanted.
            stacklevel: Whose line a warning names; 2 is the caller's.
        """
        size = _arguments.check_vocab_size(vocab_size, self._special_tokens)
        _arguments.check_callable("progress", progress)
        start = self._superwords_from
        _arguments.check_superwords(start, size, self._special_tokens)
        superwords = None if start is None else (self._pretoken_pattern, start)
        with self._lock:
            merges = _core.train(
                self._counts,
                size,
                tie_break=self._tie_break,
                min_frequency=self._min_frequency,
                max_token_length=self._max_token_length,
                num_threads=self._num_threads,
                progress=progress,
                superwords=superwords,
            )
            got = len(merges) + len(self._special_tokens)
            message = self._too_few(got, size) if got < size else None
        if message is not None:
            warnings.warn(message, UserWarning, stacklevel=stacklevel)
        return Vocabulary.from_training(merges, self._special_tokens, self._pat_str)

    def _counting_pass(
        self, errors: str, progress: Callable[[int], None] | None
    ) -> _core.CountingPass:
        return _core.CountingPass(
            self._pat_str,
            self._special_tokens,
            doc_cap=self._doc_cap,
            max_chars=self._chars_left,
            num_threads=self._num_threads,
            errors=errors,
            progress=progress,
        )

    def _turn(self) -> AbstractContextManager[object]:
        """Held during a pass: with `max_chars` one begins where the one before ended."""
        return contextlib.nullcontext() if self._chars_left is None else self._lock

    def _finish(self, counting: _core.CountingPass) -> None:
        n_chars = counting.n_chars
        counts = counting.finish()
        with self._lock:
            if len(self._counts):
                self._counts.merge(counts)
            else:
                self._counts = counts
            if self._chars_left is not None:
                self._chars_left = max(0, self._chars_left - n_chars)

    def _too_few(self, got: int, size: int) -> str:
        limits = []
        if self._min_frequency > 1:
            limits.append(f"min_frequency={self._min_frequency}")
        if self._max_token_length is not None:
            limits.append(f"max_token_length={self._max_token_length}")
        within = f" within {' and '.join(limits)}" if limits else ""
        what = "pretokens" if self._superwords_from is None else "spans"
        return (
            f"the vocabulary has {got} tokens instead of vocab_size={size}: the text "
            f"({len(self._counts)} distinct {what}) has no more pairs to merge{within}"
        )


def _is_path(text: object) -> bool:
    # Longer than any path, or with what no path holds: not asked for.
    if not isinstance(text, str) or not 0 < len(text) <= 4096 or "\n" in text:
        return False
    return os.path.exists(text)  # noqa: PTH110
