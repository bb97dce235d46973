"""Which token goes first: ranks that do what a list of merges does.

`tokenizers` applies the first merge of the list that can be applied, ours joins the two parts whose
result has the lowest rank. While text is merged, nothing crosses the ends of what becomes a token,
so that inside them happens what happens to the token's bytes alone: they become the token by one
merge of the list, the same wherever they are, or by none. The place of that merge is the token's
rank. What no merge makes is found as a whole pretoken only, if at all.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bytemill.formats.byte_alphabet import shown
from bytemill.shape import Shape
from bytemill.vocabulary import Pair, Vocabulary, check_merges

_ROUNDS: Final = 3
"""How often the core is asked which places are right before all of them are worked out here."""


@dataclass(frozen=True)
class Merging:
    """Tokens and merges, and what else a vocabulary is made of."""

    ranks: Mapping[bytes, int]
    """The ordinary tokens with their ids."""
    special: Mapping[str, int]
    """The special tokens with theirs."""
    pattern: str
    name: str
    shape: Shape
    merges: Sequence[Pair]
    """In their order; tokens of `ranks` that make tokens of `ranks`."""
    whole_tokens: bool
    """Whether a pretoken that is a token is that token though no merge makes it."""
    characters: Sequence[bytes] = ()
    """Tokens that merging begins with, beside the single bytes."""

    def by_ids(self) -> Vocabulary:
        """The vocabulary whose ids are its ranks.

        Raises:
            ValueError: If these would not do what the merges do.
        """
        vocabulary = self._vocabulary(self.ranks, self.shape)
        whole = self.whole_tokens
        check_merges(vocabulary, self.merges, "model.merges", show=shown, whole_tokens=whole)
        return vocabulary

    def by_merges(self) -> Vocabulary:
        """The vocabulary whose ranks are the places of the merges."""
        places = {pair: place for place, pair in enumerate(self.merges)}
        ranks: dict[bytes, int] = {}
        for (left, right), place in places.items():
            ranks[left + right] = min(place, ranks.get(left + right, place))
        for n_before in range(_ROUNDS):
            vocabulary = self._ordered(ranks)
            pairs = vocabulary.splits()
            found = {token: _place(pairs[token], places) for token in ranks}
            # The shortest token that is not where it belongs is among these: what the core finds
            # for it depends on shorter ones alone.
            doubtful = [token for token, place in ranks.items() if found[token] != place]
            if doubtful and not n_before:
                # What it finds is a better guess, and nearly always right: SentencePiece's lists
                # have several merges for a token, one behind the other.
                ranks.update((token, at) for token in doubtful if (at := found[token]) is not None)
                doubtful = [token for token in doubtful if found[token] is None]
                self._settle(ranks, doubtful, places)
            elif not self._settle(ranks, doubtful, places):
                return vocabulary
        self._settle(ranks, list(ranks), places)
        return self._ordered(ranks)

    def _settle(
        self, ranks: dict[bytes, int], tokens: Iterable[bytes], places: Mapping[Pair, int]
    ) -> bool:
        """Puts `tokens` where they belong, and says whether any was elsewhere."""
        symbols = frozenset(self.characters)
        moved = False
        for token in tokens:
            place = _last_merge(_symbols(token, symbols), places)
            if place is None:
                del ranks[token]
                moved = True
            else:
                moved |= ranks[token] != place
                ranks[token] = place
        return moved

    def _ordered(self, ranks: Mapping[bytes, int]) -> Vocabulary:
        """The vocabulary with these ranks; tokens without one no merge makes."""
        symbols = [*(token for token in self.ranks if len(token) == 1), *self.characters]
        made = sorted(ranks, key=ranks.__getitem__)
        order = dict.fromkeys([*symbols, *made])
        never = [token for token in self.ranks if token not in order]
        state = {
            **self.shape.to_state(),
            "n_merged": len(self.characters) + len(made),
            "whole_tokens": self.whole_tokens or not (never or self.characters),
        }
        in_order = {token: self.ranks[token] for token in [*order, *never]}
        return self._vocabulary(in_order, Shape.from_state(state))

    def _vocabulary(self, ranks: Mapping[bytes, int], shape: Shape) -> Vocabulary:
        return Vocabulary(ranks, self.special, pattern=self.pattern, name=self.name, shape=shape)


def _place(pair: Pair | None, places: Mapping[Pair, int]) -> int | None:
    return None if pair is None else places.get(pair)


def _symbols(token: bytes, characters: Collection[bytes]) -> list[bytes]:
    """What merging a token's bytes begins with."""
    if not characters:
        return [token[i : i + 1] for i in range(len(token))]
    symbols: list[bytes] = []
    for character in map(str.encode, token.decode()):
        whole = character in characters
        symbols += [character] if whole else [bytes([byte]) for byte in character]
    return symbols


def _last_merge(parts: list[bytes], places: Mapping[Pair, int]) -> int | None:
    """The place of the merge that makes one of `parts`, if they become one: always the first merge
    of the list that can be applied, leftmost of equals."""
    following = list(range(1, len(parts) + 1))
    before = list(range(-1, len(parts) - 1))
    waiting: list[tuple[int, int, Pair]] = []

    def consider(i: int) -> None:
        if i >= 0 and following[i] < len(parts):
            pair = parts[i], parts[following[i]]
            if pair in places:
                heapq.heappush(waiting, (places[pair], i, pair))

    for i in range(len(parts)):
        consider(i)
    left, last = len(parts), None
    while waiting:
        place, i, pair = heapq.heappop(waiting)
        after = following[i]
        if after >= len(parts) or (parts[i], parts[after]) != pair:
            continue  # one of the two has become part of something else
        parts[i], parts[after] = b"".join(pair), b""
        following[i] = following[after]
        if following[i] < len(parts):
            before[following[i]] = i
        left, last = left - 1, place
        consider(before[i])
        consider(i)
    return last if left == 1 else None
