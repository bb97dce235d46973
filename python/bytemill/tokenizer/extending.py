"""Training that goes on from a vocabulary, whose tokens stay as they are."""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

from bytemill import _core
from bytemill._arguments import IN_NO_TEXT
from bytemill._core import Counts
from bytemill._types import TieBreak
from bytemill.formats import selfcheck
from bytemill.shape import Shape
from bytemill.vocabulary import Vocabulary

_WHOLE: Final = r"(?s:.+)"
_BATCH: Final = 100_000
_TICK: Final = 64
_NO_PLACE: Final = -1
_GONE: Final = -1
Ranks = tuple[int, int]
Progress = Callable[[int, int], None]


def extended(
    vocabulary: Vocabulary,
    counts: Counts,
    vocab_size: int,
    *,
    tie_break: TieBreak = "lexicographic",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    progress: Progress | None = None,
    stacklevel: int = 2,
) -> Vocabulary:
    """A vocabulary with the tokens of another and further ones; `Tokenizer.extended` says how.

    Args:
        vocabulary: The tokens to begin with.
        counts: Pretokens, counted with its pattern and its special tokens.
        vocab_size: The most tokens to have, as `len` of a tokenizer counts them.
        tie_break: Of the pairs with the highest count, which is merged first.
        min_frequency: Pairs that occur less often are never merged.
        max_token_length: Tokens longer than this many bytes are never made.
        progress: Called with the merges learned and the merges wanted.
        stacklevel: Whose line a warning names; 2 is the caller's.

    Raises:
        ValueError: There are more tokens than `vocab_size` already; the vocabulary has a token that
            no merge makes, or a shape that decides ids; the counts are of another pattern.
    """
    check_extensible(vocabulary, vocab_size)
    if counts.pat_str != vocabulary.pat_str:
        raise ValueError(
            f"the counts are of the pattern {counts.pat_str!r}, the vocabulary has "
            f"{vocabulary.pat_str!r}"
        )
    wanted = vocab_size - len(vocabulary.vocab)
    learner = _Learner(vocabulary, counts, tie_break, min_frequency, max_token_length)
    made: list[bytes] = []
    for token in itertools.islice(learner.tokens(), wanted):
        made.append(token)
        if progress is not None and len(made) % _TICK == 0:
            progress(len(made), wanted)
    if progress is not None:
        progress(len(made), wanted)
    if len(made) < wanted:
        warnings.warn(
            f"the vocabulary has {vocab_size - wanted + len(made)} tokens instead of vocab_size="
            f"{vocab_size}: the text ({len(counts)} distinct pretokens) has no more pairs to merge",
            UserWarning,
            stacklevel=stacklevel,
        )
    first = vocabulary.n_vocab
    ranks = {**vocabulary.mergeable_ranks, **{token: first + i for i, token in enumerate(made)}}
    return Vocabulary(
        ranks,
        vocabulary.special_tokens,
        pattern=vocabulary.pat_str,
        name=vocabulary.name,
        shape=_with_special_in_model(vocabulary) if made else vocabulary.shape,
    )


def check_extensible(vocabulary: Vocabulary, vocab_size: int) -> None:
    """Raises ValueError if a vocabulary cannot be extended to a size, as `extended` does."""
    n = len(vocabulary.vocab)
    if vocab_size < n:
        raise ValueError(f"vocab_size={vocab_size}: the vocabulary has {n} tokens already")
    if vocab_size - n + vocabulary.n_vocab > 2**32:
        raise ValueError(f"vocab_size={vocab_size} is too large: ids are 32-bit")
    if vocabulary.shape is not None and vocabulary.shape.core is not None:
        told = selfcheck.beyond(vocabulary.shape) or ["tokens that no text has"]
        raise ValueError(
            "a vocabulary from a tokenizer.json that says more than tokens, special tokens and a "
            f"pattern cannot be extended; this one says {' and '.join(told)}"
        )
    lacking = [byte for byte in IN_NO_TEXT if byte not in vocabulary.mergeable_ranks]
    if lacking:
        raise ValueError(
            f"the vocabulary cannot be extended: it lacks {len(lacking)} single bytes, "
            f"the first {lacking[0]!r}"
        )
    for token, pair in vocabulary.splits().items():
        if pair is None:
            raise ValueError(
                f"the vocabulary cannot be extended: no merge makes its token {token!r}"
            )


class _Learner:
    """Learns merges, a pair at a time, over pretokens as a vocabulary encodes them.

    Pretokens stand one after the other in a row of places, each with a token's number: the bytes by
    value, then the vocabulary's other tokens by id, then new ones. Each pair has its count and the
    places where it may be; a heap has the pairs, with counts that may be out of date, which are
    refreshed when they come up. So a merge costs what its occurrences cost, however long pretokens
    are.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        counts: Counts,
        tie_break: TieBreak,
        min_frequency: int,
        max_token_length: int | None,
    ) -> None:
        ranks = vocabulary.mergeable_ranks
        in_order = sorted(ranks, key=ranks.__getitem__)
        self._tokens = [bytes([byte]) for byte in range(256)]
        self._tokens += [token for token in in_order if len(token) > 1]
        self._min_frequency = min_frequency
        self._longest = max_token_length
        self._key = self._order(tie_break, ranks)
        numbers = {token: number for number, token in enumerate(self._tokens)}
        number_of = {ranks[token]: number for token, number in numbers.items()}
        self._numbers: list[int] = []
        self._weights: list[int] = []
        self._next: list[int] = []
        self._previous: list[int] = []
        for ids, weight in _encoded(ranks, counts):
            start, n = len(self._numbers), len(ids)
            self._numbers += [number_of[id_] for id_ in ids]
            self._weights += [weight] * n
            self._next += [*range(start + 1, start + n), _NO_PLACE]
            self._previous += [_NO_PLACE, *range(start, start + n - 1)]
        self._pairs: Counter[Ranks] = Counter()
        self._places: defaultdict[Ranks, list[int]] = defaultdict(list)

    def tokens(self) -> Iterator[bytes]:
        """The new tokens, in the order in which they are made."""
        for place, after in enumerate(self._next):
            if after != _NO_PLACE:
                self._add(place, after)
        heap = [self._candidate(pair) for pair in self._pairs if self._may_be(pair)]
        heapq.heapify(heap)
        while heap:
            count, _, pair = heap[0]
            now = self._pairs.get(pair, 0)
            if now < self._min_frequency:
                heapq.heappop(heap)
            elif now != -count:
                heapq.heapreplace(heap, self._candidate(pair))
            else:
                heapq.heappop(heap)
                self._tokens.append(self._tokens[pair[0]] + self._tokens[pair[1]])
                for grown in self._merge(pair, len(self._tokens) - 1):
                    if self._may_be(grown):
                        heapq.heappush(heap, self._candidate(grown))
                yield self._tokens[-1]

    def _merge(self, pair: Ranks, new: int) -> list[Ranks]:
        """Merges a pair everywhere; the pairs that have come into being."""
        a, b = pair
        numbers, following, previous = self._numbers, self._next, self._previous
        grown: set[Ranks] = set()
        # From left to right, as runs like `aaa` want it.
        for place in sorted(self._places.pop(pair)):
            second = following[place]
            # A token that was swallowed leaves _GONE; tokens only grow, so none is what it was.
            if numbers[place] != a or second == _NO_PLACE or numbers[second] != b:
                continue
            before, after = previous[place], following[second]
            self._remove(place, second)
            if before != _NO_PLACE:
                self._remove(before, place)
            if after != _NO_PLACE:
                self._remove(second, after)
                previous[after] = place
            numbers[place], numbers[second], following[place] = new, _GONE, after
            if before != _NO_PLACE:
                grown.add(self._add(before, place))
            if after != _NO_PLACE:
                grown.add(self._add(place, after))
        return [each for each in grown if each in self._pairs]

    def _add(self, place: int, after: int) -> Ranks:
        pair = self._numbers[place], self._numbers[after]
        self._pairs[pair] += self._weights[place]
        self._places[pair].append(place)
        return pair

    def _remove(self, place: int, after: int) -> None:
        pair = self._numbers[place], self._numbers[after]
        self._pairs[pair] -= self._weights[place]
        if not self._pairs[pair]:
            del self._pairs[pair]
            self._places.pop(pair, None)

    def _may_be(self, pair: Ranks) -> bool:
        if self._pairs[pair] < self._min_frequency:
            return False
        length = len(self._tokens[pair[0]]) + len(self._tokens[pair[1]])
        return self._longest is None or length <= self._longest

    def _candidate(self, pair: Ranks) -> tuple[int, Any, Ranks]:
        return -self._pairs[pair], self._key(pair), pair

    def _order(self, tie_break: TieBreak, ranks: dict[bytes, int]) -> Callable[[Ranks], Any]:
        """What is least for the pair that goes first of those with equal counts."""
        if tie_break == "lexicographic":
            return lambda pair: _Greatest((self._tokens[pair[0]], self._tokens[pair[1]]))
        if tie_break == "lowest_id":
            ids = [ranks[bytes([byte])] for byte in range(256)]
            later = [ranks[token] for token in self._tokens[256:]]
            known, first = ids + later, max(ranks.values()) + 1
            n = len(known)
            return lambda pair: tuple(known[x] if x < n else first + x - n for x in pair)
        place = {byte: i for i, byte in enumerate(_huggingface_order())}
        return lambda pair: tuple(place.get(x, x) for x in pair)


class _Greatest:
    """Orders pairs of byte strings from the greatest down."""

    __slots__ = ("pair",)

    def __init__(self, pair: tuple[bytes, bytes]) -> None:
        self.pair = pair

    def __lt__(self, other: _Greatest) -> bool:
        return self.pair > other.pair

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Greatest) and self.pair == other.pair

    def __hash__(self) -> int:
        return hash(self.pair)


def _encoded(ranks: dict[bytes, int], counts: Counts) -> Iterator[tuple[list[int], int]]:
    """The ids of each pretoken, taken as a whole, with how often it occurs."""
    encoder = _core.Encoder(ranks, {}, _WHOLE)
    items = counts.items()
    for start in range(0, len(items), _BATCH):
        some = items[start : start + _BATCH]
        batch = encoder.encode_batch([word.decode() for word, _ in some])
        yield from zip(batch, (count for _, count in some), strict=True)


def _huggingface_order() -> list[int]:
    """The bytes as Hugging Face's trainer numbers them: printable Latin-1 first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*printable, *sorted(set(range(256)) - set(printable))]


def _with_special_in_model(vocabulary: Vocabulary) -> Shape | None:
    """The shape, with all added tokens in the model's vocabulary: behind its last id they would be
    numbered anew."""
    shape = vocabulary.shape
    if shape is None:
        return None
    model = {**shape.document["model"], "vocab": dict(vocabulary.special_tokens)}
    document = {**shape.document, "model": model}
    return Shape.from_state({**shape.to_state(), "document": document})
