"""Tokenizers made of another: smaller ones, and larger ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bytemill._arguments import (
    check_callable,
    check_integer,
    check_iterable,
    check_limit,
    check_tie_break,
    shown,
)
from bytemill._core import Counts
from bytemill._types import TieBreak
from bytemill.tokenizer import extending, pruning
from bytemill.tokenizer.unstable import Unstable
from bytemill.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

StrPath = str | os.PathLike[str]
Own = TypeVar("Own", bound="Changing")

# Text encoded together, in characters.
_BATCH = 8_000_000


class Changing(Unstable):
    """What makes a tokenizer of another vocabulary out of this one."""

    @classmethod
    def from_vocabulary(cls: type[Own], vocabulary: Vocabulary) -> Own:
        """What encodes and decodes with `vocabulary`."""
        if not isinstance(vocabulary, Vocabulary):
            raise TypeError(
                f"vocabulary={shown(vocabulary)}: expected a bytemill.vocabulary.Vocabulary; from "
                "a dict of bytes and their ids a tokenizer is made by from_ranks"
            )
        tokenizer = cls.__new__(cls)
        tokenizer._vocabulary = vocabulary
        return tokenizer

    def truncated(self: Own, vocab_size: int) -> Own:
        """The vocabulary that training at the smaller size `vocab_size` would have given.

        The tokens of lowest rank are kept, and the special tokens follow them directly.

        Args:
            vocab_size: Tokens to keep, special tokens included.

        Raises:
            ValueError: If that is more tokens than there are, or less than the 256 bytes and the
                special tokens; for a tokenizer.json's vocabulary with a shape that decides ids.
        """
        if self._vocabulary.shape is not None and self._vocabulary.shape.core is not None:
            raise ValueError(
                "a vocabulary from a tokenizer.json that says more than tokens, special tokens "
                "and a pattern cannot be truncated"
            )
        vocab_size = check_integer("vocab_size", vocab_size)
        n_special, n_ranks = len(self.special_tokens), len(self.mergeable_ranks)
        if not 256 + n_special <= vocab_size <= n_ranks + n_special:
            raise ValueError(
                f"vocab_size={vocab_size}: this vocabulary can be cut to {256 + n_special} (bytes "
                f"and special tokens) up to {n_ranks + n_special} (all it has)"
            )
        by_rank = sorted(self.mergeable_ranks.items(), key=lambda item: item[1])
        kept = dict(by_rank[: vocab_size - n_special])
        after = max(kept.values()) + 1
        special = {text: after + i for i, text in enumerate(self.special_tokens)}
        return self.from_vocabulary(Vocabulary(kept, special, pattern=self.pat_str, name=self.name))

    def extended(
        self: Own,
        input: StrPath | Sequence[StrPath] | Iterable[str] | Counts,
        vocab_size: int,
        *,
        tie_break: TieBreak = "lexicographic",
        min_frequency: int = 1,
        max_token_length: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Own:
        """A tokenizer with this one's tokens, which keep their ids, and further ones.

        Training goes on from here: the texts' pretokens are encoded, and of the pairs of ids that
        are then adjacent the most frequent is merged, again and again. New tokens get the ids
        from `n_vocab` on. Of a vocabulary from training, on the same texts, it gives the tokens
        that training at the larger size gives.

        Args:
            input: Files or texts, as for `Tokenizer.train`; or the pretoken counts that a
                `BpeTrainer` with this pattern and these special tokens has made.
            vocab_size: The most tokens to have, as `len` counts them.
            tie_break: Which of several most frequent pairs is merged; see `BpeTrainer`. For
                "lowest_id" ids are this vocabulary's.
            min_frequency: Pairs that occur less often are never merged.
            max_token_length: Tokens longer than this many bytes are never made.
            progress: Called with the merges learned and the merges wanted.
            **options: Further arguments of `BpeTrainer`, for counting.

        Raises:
            ValueError: There are more tokens than `vocab_size` already; no merge makes one of them;
                the vocabulary is a tokenizer.json's with a shape that decides ids; the counts are
                of another pattern; arguments are out of range.
        """
        from bytemill.tokenizer.vocabulary_trainer import VocabularyTrainer

        size = check_integer("vocab_size", vocab_size)
        rule = check_tie_break(tie_break)
        frequency = check_limit("min_frequency", min_frequency) or 1
        longest = check_limit("max_token_length", max_token_length)
        check_callable("progress", progress)
        extending.check_extensible(self._vocabulary, size)
        if (start := options.get("superwords_from")) is not None:
            raise ValueError(
                f"superwords_from={start}: a vocabulary is extended within its own pattern; to go "
                "on across pretokens, train anew with BpeTrainer"
            )
        if isinstance(input, Counts):
            if options:
                raise TypeError(f"{', '.join(options)}: of no use where input is counts")
            counts = input
        else:
            trainer = VocabularyTrainer(
                pattern=self.pat_str, special_tokens=list(self.special_tokens), **options
            )
            if (files := files_in(input)) is not None:
                trainer.feed_files(files)
            else:
                trainer.feed(cast("Iterable[str]", input))
            counts = trainer.counts
        vocabulary = extending.extended(
            self._vocabulary,
            counts,
            size,
            tie_break=rule,
            min_frequency=frequency,
            max_token_length=longest,
            progress=progress,
            stacklevel=3,
        )
        return self.from_vocabulary(vocabulary)

    def pruned(
        self: Own, input: StrPath | Sequence[StrPath] | Iterable[str], *, min_count: int = 1
    ) -> Own:
        """A tokenizer with only the tokens that texts need.

        A token stays if it is a byte, a special or an added one, if it occurs in the texts' ids, or
        if one that stays is merged from it. What stays is a vocabulary whose merges are among those
        of this one, in their order. With `min_count=1` the texts are encoded to the same tokens as
        before. Ids are numbered anew, in their order and without holes.

        Args:
            input: Files or texts, as for `Tokenizer.train`.
            min_count: Tokens that occur less often go, unless one that stays is merged from them;
                above 1 some texts then have other and more tokens.

        Raises:
            ValueError: `min_count` is below 1.
            TypeError: `input` is neither, or `min_count` is not an integer.
        """
        least = check_limit("min_count", check_integer("min_count", min_count)) or 1
        counts = self._occurrences(input)
        return self.from_vocabulary(pruning.pruned(self._vocabulary, counts.tolist(), least))

    def _occurrences(
        self, input: StrPath | Sequence[StrPath] | Iterable[str]
    ) -> npt.NDArray[np.int64]:
        """How often each id occurs in texts."""
        import numpy as np

        if (files := files_in(input)) is not None:
            from bytemill.data.documents import iter_documents

            # Cut at special tokens, so that a file need not be in memory.
            apart = pruning.separators(self._vocabulary)
            texts: Iterable[str] = iter_documents(files, special_tokens=apart)
        else:
            texts = cast("Iterable[str]", input)
        counts = np.zeros(self.n_vocab, np.int64)
        for some in _batches(texts):
            ids, _ = self.encode_batch_to_numpy(some)
            counts += np.bincount(ids, minlength=self.n_vocab)
        return counts


def files_in(input: object) -> Sequence[StrPath] | None:
    """The files that an argument stands for; None if it is texts.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(input, (str, os.PathLike)):
        return [input]
    if isinstance(input, (list, tuple)) and input and isinstance(input[0], os.PathLike):
        return input
    check_iterable("input", input, "a path, a list of pathlib.Path, or an iterable of texts (str)")
    return None


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    some: list[str] = []
    n_chars = 0
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"input: {shown(text)} is not a str")
        some.append(text)
        n_chars += len(text)
        if n_chars >= _BATCH:
            yield some
            some, n_chars = [], 0
    if some:
        yield some
