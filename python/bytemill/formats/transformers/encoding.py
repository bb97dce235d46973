"""`Encoding`: the tokens of a text or a pair, with what `tokenizers.Encoding` tells about them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

Span = tuple[int, int]
Item = TypeVar("Item")


class Source:
    """The tokens of a text, or ids that belong to none.

    Args:
        ids: The ids.
        locate: Gives the characters of each token when they are first asked for; (0, 0) without.
        name: Gives the tokens' names.
        words: Gives the words that tokens belong to when they are first asked for.
        trim: Changes the characters of tokens, given their names, once they have been cut off.
    """

    def __init__(
        self,
        ids: list[int],
        name: Callable[[list[int]], list[str]],
        locate: Callable[[], list[Span]] | None = None,
        words: Callable[[], list[int | None]] | None = None,
        trim: Callable[[list[str], list[Span]], list[Span]] | None = None,
    ) -> None:
        self.ids = ids
        self.trim = trim
        self._name = name
        self._locate = locate
        self._words = words

    @functools.cached_property
    def offsets(self) -> list[Span]:
        """The characters of each token."""
        return [(0, 0)] * len(self.ids) if self._locate is None else self._locate()

    @functools.cached_property
    def tokens(self) -> list[str]:
        """The name of each token."""
        return self._name(self.ids)

    @functools.cached_property
    def words(self) -> list[int | None]:
        """The index of the word that each token belongs to."""
        return [None] * len(self.ids) if self._words is None else self._words()

    # Pickled as what it found, without what it found it by.
    def __reduce__(self) -> tuple[Any, ...]:
        return _found, (self.ids, self.tokens, self.offsets, self.words, self.trim)


def _found(
    ids: list[int],
    tokens: list[str],
    offsets: list[Span],
    words: list[int | None],
    trim: Callable[[list[str], list[Span]], list[Span]] | None,
) -> Source:
    return Source(ids, _Always(tokens), _Always(offsets), _Always(words), trim)


@dataclass(frozen=True)
class _Always(Generic[Item]):
    """A function of anything that gives one value."""

    value: Item

    def __call__(self, *_: object) -> Item:
        return self.value


@dataclass(frozen=True)
class Part:
    """Tokens of one source that stand side by side."""

    source: Source
    start: int
    stop: int
    sequence: int | None = None
    """0 for the text, 1 for the second of a pair, None for what was put around them."""
    type_id: int = 0
    attention: int = 1

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def offsets(self) -> list[Span]:
        """The characters of each token."""
        source, some = self.source, slice(self.start, self.stop)
        spans = source.offsets[some]
        return spans if source.trim is None else source.trim(source.tokens[some], spans)


@dataclass(frozen=True)
class Encoding:
    """Tokens in a row. The properties are lists with an item for each token."""

    parts: tuple[Part, ...]
    overflowing: list[Encoding] = field(default_factory=list)
    """What was cut off, in pieces of the same length."""
    n_sequences: int = 1

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def ids(self) -> list[int]:
        """The ids."""
        return self._all(lambda source: source.ids)

    @property
    def tokens(self) -> list[str]:
        """The tokens' names, as a tokenizer.json writes them."""
        return self._all(lambda source: source.tokens)

    @property
    def offsets(self) -> list[Span]:
        """The characters of its text that each token stands for; (0, 0) for what is of no text."""
        return [span for part in self.parts for span in part.offsets]

    @property
    def word_ids(self) -> list[int | None]:
        """The word of its text that each token is of."""
        return self._all(lambda source: source.words)

    @property
    def words(self) -> list[int | None]:
        """`word_ids` by its older name."""
        return self.word_ids

    @property
    def type_ids(self) -> list[int]:
        """The type of each token: what models call its segment."""
        return self._each(lambda part: part.type_id)

    @property
    def attention_mask(self) -> list[int]:
        """0 for padding, else 1."""
        return self._each(lambda part: part.attention)

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for what was put around the texts, padding included, else 0."""
        return self._each(lambda part: int(part.sequence is None))

    @property
    def sequence_ids(self) -> list[int | None]:
        """0 for the text, 1 for the second of a pair, None for what is of neither."""
        return self._each(lambda part: part.sequence)

    def token_to_sequence(self, token_index: int) -> int | None:
        """Which text a token is of."""
        found = self._at(token_index)
        return None if found is None else found[0].sequence

    def token_to_chars(self, token_index: int) -> Span | None:
        """The characters of its text that a token stands for."""
        found = self._at(token_index)
        if found is None or found[0].sequence is None:
            return None
        part, at = found
        return part.offsets[at - part.start]

    def token_to_word(self, token_index: int) -> int | None:
        """The word of its text that a token is of."""
        found = self._at(token_index)
        if found is None or found[0].sequence is None:
            return None
        part, at = found
        return part.source.words[at]

    def char_to_token(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The first token that has a character; of all tokens where there is no such sequence."""
        _check_index("char_pos", char_pos)
        for i, span, _ in self._of_sequence(sequence_index, words=False):
            if span[0] <= char_pos < span[1]:
                return i
        return None

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> Span | None:
        """The tokens of a word: the first, and the one after the last."""
        _check_index("word_index", word_index)
        found = [i for i, _, word in self._of_sequence(sequence_index) if word == word_index]
        return (found[0], found[-1] + 1) if found else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> Span | None:
        """The characters of a word."""
        _check_index("word_index", word_index)
        spans = [s for _, s, word in self._of_sequence(sequence_index) if word == word_index]
        return (spans[0][0], spans[-1][1]) if spans else None

    def char_to_word(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The word that has a character."""
        token = self.char_to_token(char_pos, sequence_index)
        return None if token is None else self.token_to_word(token)

    def __repr__(self) -> str:
        return f"Encoding(n_tokens={len(self)}, n_overflowing={len(self.overflowing)})"

    # Inside

    def _all(self, of: Callable[[Source], list[Item]]) -> list[Item]:
        if len(self.parts) == 1:
            part = self.parts[0]
            return of(part.source)[part.start : part.stop]
        items = (of(part.source)[part.start : part.stop] for part in self.parts if len(part))
        return list(itertools.chain.from_iterable(items))

    def _each(self, of: Callable[[Part], Item]) -> list[Item]:
        items = ([of(part)] * len(part) for part in self.parts)
        return list(itertools.chain.from_iterable(items))

    def _at(self, index: int) -> tuple[Part, int] | None:
        _check_index("token_index", index)
        for part in self.parts:
            if index < len(part):
                return part, part.start + index
            index -= len(part)
        return None

    def _of_sequence(
        self, sequence: int, *, words: bool = True
    ) -> Iterator[tuple[int, Span, int | None]]:
        _check_index("sequence_index", sequence)
        before = 0
        # As in tokenizers: a sequence that is not there is all of them.
        is_there = any(part.sequence == sequence for part in self.parts)
        for part in self.parts:
            if part.sequence == sequence or not is_there:
                for i, span in enumerate(part.offsets):
                    word = part.source.words[part.start + i] if words else None
                    yield before + i, span, word
            before += len(part)


def _check_index(name: str, index: int) -> None:
    if index < 0:
        raise OverflowError(f"{name}={index}: it must be at least 0")


def whole(source: Source, sequence: int) -> Encoding:
    """All of a text's tokens."""
    return Encoding((Part(source, 0, len(source.ids), sequence, sequence),))


def merged(first: Encoding, second: Encoding) -> Encoding:
    """One after the other, with the overflowing pieces of both in all combinations."""
    overflowing = [_joined(a, b) for a in first.overflowing for b in (second, *second.overflowing)]
    overflowing += [_joined(first, b) for b in second.overflowing]
    return replace(_joined(first, second), overflowing=overflowing)


def all_merged(encodings: Iterable[Encoding], n_sequences: int) -> Encoding:
    """`merged`, of any number of them."""
    result = functools.reduce(merged, encodings, Encoding(()))
    pieces = [replace(each, n_sequences=n_sequences) for each in result.overflowing]
    return replace(result, n_sequences=n_sequences, overflowing=pieces)


def _joined(first: Encoding, second: Encoding) -> Encoding:
    return Encoding(first.parts + second.parts)
