"""`Vocabulary`: tokens, their ids, special tokens and a split pattern, as one value."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from bytemill import _core, patterns
from bytemill._arguments import (
    IN_NO_TEXT,
    check_id,
    check_mapping,
    check_pairs,
    check_ranks,
    check_special_ids,
    check_special_token,
    check_special_tokens,
    check_str,
    check_utf8,
    shown,
    with_all_bytes,
)
from bytemill.shape import Shape

Pair = tuple[bytes, bytes]
"""The two tokens that a merge joins."""


class Vocabulary:
    """All that decides which ids a text has; what readers return and writers take.

    A token's rank is its id: of two possible merges, the one whose result has the lower id goes
    first. Immutable: do not change the dicts and lists it hands out. Vocabularies with the same
    `fingerprint` are equal.

    Args:
        mergeable_ranks: Tokens with their ids, all 256 single bytes among them; with a shape, those
            that UTF-8 never has, or that it refuses, may be missing. Ids may have holes. What the
            Rust core has read, and checked, becomes Python's when asked for; ranks are ids there.
        special_tokens: Special tokens with their ids. Two may share an id, as in tiktoken's
            o200k_harmony; it decodes to the first of them.
        pattern: A named pattern ("gpt2", "cl100k", "o200k", "nanochat") or a regex in the syntax of
            the fancy-regex crate. Text that it does not match has no ids. A match of nothing is
            passed over, and the search goes on one character further, as in tiktoken (unlike
            `re.finditer`, which tries for a longer match at that place first).
        name: A name for people; it decides nothing.
        shape: What else a tokenizer.json says. With `shape.n_merged` a token's rank is its place in
            `mergeable_ranks` and not its id.

    Raises:
        TypeError: For a token that is not bytes, a special token that is not a str, an id that is
            not an int.
        ValueError: For a missing byte, an id used twice, an empty special token, a broken pattern.
    """

    _trained: _core.Merges | None
    _read: _core.Ranks | None

    def __init__(
        self,
        mergeable_ranks: Mapping[bytes, int] | _core.Ranks,
        special_tokens: Mapping[str, int] | None = None,
        *,
        pattern: str = "gpt2",
        name: str = "bytemill",
        shape: Shape | None = None,
    ) -> None:
        self._trained, self._read, self._shape = None, None, shape
        special = check_special_ids(special_tokens)
        ranks: dict[bytes, int] | _core.Ranks
        taken: Container[int]
        if isinstance(mergeable_ranks, _core.Ranks):
            self._read = ranks = taken = mergeable_ranks
        else:
            check_mapping("mergeable_ranks", mergeable_ranks, "a dict of bytes and their ids")
            self.__dict__["mergeable_ranks"] = ranks = dict(mergeable_ranks)
            check_ranks(ranks, () if shape is None else (*IN_NO_TEXT, *shape.refused))
            taken = set(ranks.values())
        # An added token may be an ordinary one as well.
        tokens = special.items() if shape is not None else ()
        spelled = shape.spelled if shape is not None else str.encode
        both = {id_ for text, id_ in tokens if ranks.get(spelled(text)) == id_}
        self._set(special, taken, pattern, name, both)

    @classmethod
    def from_merges(
        cls,
        vocab: Mapping[int, bytes],
        merges: Iterable[Pair],
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
        name: str = "bytemill",
    ) -> "Vocabulary":
        """From tokens by id and merges in their order; `Tokenizer` says what is accepted."""
        ids = _ids_of(vocab)
        pairs = check_pairs("merges", merges)
        if special_tokens is None:
            made = {left + right for left, right in pairs}
            special = [check_utf8(t, ids[t]) for t in ids if len(t) > 1 and t not in made]
        else:
            special = check_special_tokens(special_tokens)
        known = {text: ids[text.encode()] for text in special if text.encode() in ids}
        as_bytes = {text.encode() for text in known}
        ranks = {token: id_ for token, id_ in ids.items() if token not in as_bytes}
        numbered = number_special_tokens(special, known, ranks)
        vocabulary = cls(ranks, numbered, pattern=pattern, name=name)
        check_merges(vocabulary, pairs, "merges")
        return vocabulary

    @classmethod
    def from_training(
        cls, merges: _core.Merges, special_tokens: Sequence[str], pattern: str
    ) -> "Vocabulary":
        """What training made; its tables are built when first asked for."""
        texts = check_special_tokens(special_tokens)
        vocabulary = cls.__new__(cls)
        vocabulary._trained, vocabulary._read = merges, None
        vocabulary._shape = None
        special = {text: len(merges) + i for i, text in enumerate(texts)}
        vocabulary._set(special, set(), pattern, "bytemill")
        return vocabulary

    def _set(
        self,
        special: Mapping[str, int],
        taken: Container[int],
        pattern: str,
        name: str,
        both: Container[int] = (),
    ) -> None:
        self._special_tokens = dict(special)
        _check_special(self._special_tokens, taken, both)
        self._pat_str = patterns.canonical(pattern)
        self._name = check_str("name", name)

    @property
    def name(self) -> str:
        """A name for people; it decides nothing."""
        return self._name

    @property
    def shape(self) -> Shape | None:
        """What a tokenizer.json says beyond the rest, if it came from one that says more."""
        return self._shape

    @property
    def _spellings(self) -> tuple[tuple[str, int], ...]:
        return () if self.shape is None else self.shape.spellings

    @property
    def pat_str(self) -> str:
        """The split pattern's regex."""
        return self._pat_str

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens with their ids, in the order given."""
        return self._special_tokens

    @functools.cached_property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """The ordinary tokens with their ids."""
        if self._read is not None:
            return self._read.tokens()
        tokens = () if self._trained is None else self._trained.tokens()
        return {token: id_ for id_, token in enumerate(tokens)}

    @functools.cached_property
    def vocab(self) -> dict[int, bytes]:
        """All tokens by id, in the order of ids; special tokens as their UTF-8."""
        special = reversed(self.special_tokens.items())
        by_id = {id_: text.encode() for text, id_ in (*self._spellings, *special)}
        by_id.update((id_, token) for token, id_ in self.mergeable_ranks.items())
        return dict(sorted(by_id.items()))

    @functools.cached_property
    def merges(self) -> list[Pair]:
        """The pair each token longer than a byte is joined from, in the order of ids.

        There is one pair for each token, and no other pair of tokens with the same joined bytes is
        ever adjacent in an encoding: as nothing has been joined across the ends of those bytes
        before, what has happened between them is what happens to them alone.

        Raises:
            ValueError: If a token is not a join of two tokens with lower ids, naming it.
        """
        if self._trained is not None:
            return self._trained.merges()
        return self.encoder.merges()

    @functools.cached_property
    def n_vocab(self) -> int:
        """The highest id plus one, as in tiktoken; ids with holes have fewer tokens than that."""
        if self._trained is not None:
            return len(self._trained) + len(self.special_tokens)
        if self._read is not None:
            return max(self._read.highest, *self.special_tokens.values(), 0) + 1
        ids = [id_ for _, id_ in self._spellings]
        return max([*self.mergeable_ranks.values(), *self.special_tokens.values(), *ids]) + 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides ids: pattern, tokens, special tokens, their ids.

        Named patterns count by what they match: known texts of one pattern give one fingerprint.
        """
        digest = hashlib.sha256(b"bytemill tokenizer 1\n")
        special = sorted((id_, text.encode()) for text, id_ in self.special_tokens.items())
        pattern = self.pat_str.encode()
        if self._read is not None:
            n_ranks, ranks = len(self._read), self._read.listing()
        else:
            n_ranks = len(self.mergeable_ranks)
            ranks = _listing(sorted((i, token) for token, i in self.mergeable_ranks.items()))
        digest.update(b"%d %d %d\n%b" % (len(pattern), n_ranks, len(special), pattern))
        digest.update(ranks + _listing(special))
        if self.shape is not None and self.shape.decides:
            digest.update(self.shape.decides.encode())
            if self.shape.n_merged is not None:
                digest.update(b" ".join(b"%d" % id_ for id_ in self.mergeable_ranks.values()))
        return digest.hexdigest()

    def token_bytes(self) -> list[int]:
        """Bytes for each id, length `n_vocab`: 0 for special tokens and for holes; added tokens
        that are not special are text, and have their bytes."""
        lengths = [0] * self.n_vocab
        special = set(self.special_tokens.values())
        for text, id_ in self._spellings:
            lengths[id_] = 0 if id_ in special else len(text.encode())
        for token, id_ in self.mergeable_ranks.items():
            lengths[id_] = len(token)
        for added in self.shape.added if self.shape is not None else ():
            if not added.special:
                id_ = self.special_tokens[added.content]
                lengths[id_] = len(self.decoder.decode_single_token_bytes(id_))
        return lengths

    def splits(self) -> dict[bytes, Pair | None]:
        """For each token longer than a byte, by id, the pair it is joined from, or None.

        Unlike `merges` it also finds pairs with a part of higher id, which training cannot give.
        """
        ranks = self.mergeable_ranks
        if self.shape is None or self.shape.n_merged is None:
            tokens = [token for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
        else:
            tokens = [token for token in ranks if len(token) > 1]
            ranks = {token: rank for rank, token in enumerate(tokens[: self.shape.n_merged])}
        if self._trained is None and (pairs := self.encoder.splits()) is not None:
            return dict(zip(tokens, pairs, strict=True))
        try:
            return dict(zip(tokens, self.merges, strict=True))
        except ValueError:
            return {token: _split(token, ranks) for token in tokens}

    @functools.cached_property
    def encoder(self) -> _core.Encoder:
        """The Rust core's tables for encoding, built when first asked for."""
        core = None if self.shape is None else self.shape.core
        ranks = self.core_ranks() if self._read is None else self._read
        return _core.Encoder(ranks, self.special_tokens, self.pat_str, core)

    def core_ranks(self) -> dict[bytes, int]:
        """The ordinary tokens with their ids as the core takes them: all bytes among them."""
        return with_all_bytes(self.mergeable_ranks, self.n_vocab)

    @functools.cached_property
    def decoder(self) -> _core.Decoder:
        """The Rust core's table for decoding."""
        return self.encoder.decoder

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def number_special_tokens(
    special_tokens: Iterable[str], known: Mapping[str, int], ranks: Mapping[bytes, int]
) -> dict[str, int]:
    """Ids for special tokens, in their order: those in `known` keep theirs, others get the next.

    The next are those above every id in `known` and `ranks`.
    """
    after = itertools.count(max([*ranks.values(), *known.values()], default=-1) + 1)
    return {text: known[text] if text in known else next(after) for text in special_tokens}


def check_merges(
    vocabulary: Vocabulary,
    merges: Sequence[Pair],
    source: str,
    *,
    show: Callable[[bytes], str] = repr,
    whole_tokens: bool = False,
) -> None:
    """Checks that applying `merges` in their order is what the ids of `vocabulary` do.

    Ids leave one way to make each token (see `Vocabulary.merges`), so `merges` must hold that pair
    for every token, in the order of the results' ids; further pairs never apply.

    Args:
        vocabulary: The tokens with their ids.
        merges: In their order.
        source: Where they are from, for messages.
        show: Writes a token in messages.
        whole_tokens: A pretoken that is a token is taken at once, so that a token may also lack a
            merge.

    Raises:
        ValueError: Naming the merge, or the token, that does not fit.
    """
    ranks = vocabulary.mergeable_ranks

    def joined(pair: Pair) -> str:
        return f"{show(pair[0])} + {show(pair[1])}"

    for left, right in merges:
        if left in ranks and right in ranks and left + right in ranks:
            continue
        for token in (left, right, left + right):
            if token not in ranks:
                raise ValueError(
                    f"{source}: the merge {joined((left, right))} needs the token {show(token)}, "
                    "which is not among the ordinary tokens of the vocabulary"
                )
    place = {pair: i for i, pair in enumerate(merges)}
    last: tuple[int, Pair | None] = (-1, None)
    for token, pair in vocabulary.splits().items():
        if pair is None:
            if whole_tokens:
                continue
            raise ValueError(
                f"{source}: {show(token)} (id {ranks[token]}) is not a single byte and no merge "
                "makes it; if it is a special token, list it in special_tokens"
            )
        at = place.get(pair)
        if at is None:
            raise ValueError(
                f"{source}: {show(token)} (id {ranks[token]}) is not among the results of the "
                f"merges, which by its id would hold {joined(pair)}; if it is a special token, "
                "list it in special_tokens"
            )
        if at < last[0] and last[1] is not None:
            raise ValueError(
                f"{source}: ids do not follow the order of the merges: {joined(last[1])} comes "
                f"after {joined(pair)} but its result has the lower id. Ids decide which merge "
                "goes first here, so this vocabulary would encode text differently"
            )
        last = (at, pair)


def _ids_of(vocab: Mapping[int, bytes]) -> dict[bytes, int]:
    ids: dict[bytes, int] = {}
    for id_, token in check_mapping("vocab", vocab, "a dict of ids and their bytes").items():
        if not isinstance(token, bytes):
            raise TypeError(
                f"vocab: the token of id {shown(id_)} is {shown(token)}; expected bytes by id. "
                "From ids by bytes a tokenizer is made by Tokenizer.from_ranks"
            )
        check_id("vocab: ", token, id_)
        if token in ids:
            raise ValueError(f"vocab: the ids {ids[token]} and {id_} have the same token {token!r}")
        ids[token] = id_
    return ids


def _listing(tokens: Iterable[tuple[int, bytes]]) -> bytes:
    """What a fingerprint is made of."""
    return b"".join(b"%d %d\n%b" % (id_, len(token), token) for id_, token in tokens)


def _check_special(special: dict[str, int], taken: Container[int], both: Container[int]) -> None:
    for text, id_ in special.items():
        check_special_token("special_tokens: ", text)
        check_id("special_tokens: ", text, id_)
        if id_ in taken and id_ not in both:
            raise ValueError(f"special_tokens: the id {id_} of {text!r} is taken by another token")


def _split(token: bytes, ranks: Mapping[bytes, int]) -> Pair | None:
    """The two parts that the rule of the class leaves before it makes `token`, if it does."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(a + b, -1) for a, b in itertools.pairwise(parts)]
        possible = [rank for rank in joined if rank >= 0]
        if not possible:
            return None
        i = joined.index(min(possible))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]
