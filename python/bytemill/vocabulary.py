"""`Vocabulary`: tokens, their ids, special tokens and a split pattern."""

import functools
import hashlib
import itertools
from collections.abc import Mapping

from bytemill import _core


class Vocabulary:
    """What a `Tokenizer` is made of."""

    _trained: _core.Merges | None = None

    def _setup(self, special: dict[str, int], pat_str: str, name: str) -> None:
        self._special, self._pat_str, self._name = special, pat_str, name
        self._sets: dict[frozenset[str], _core.SpecialSet] = {}

    @property
    def name(self) -> str:
        """A name for people; it decides nothing."""
        return self._name

    @property
    def pat_str(self) -> str:
        """The split pattern's regex."""
        return self._pat_str

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens with their ids, in the order given."""
        return self._special

    @functools.cached_property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """The ordinary tokens with their ids."""
        tokens = () if self._trained is None else self._trained.tokens()
        return {token: id_ for id_, token in enumerate(tokens)}

    @functools.cached_property
    def vocab(self) -> dict[int, bytes]:
        """All tokens by id, in the order of ids; special tokens as their UTF-8."""
        by_id = {id_: text.encode() for text, id_ in reversed(self._special.items())}
        by_id.update((id_, token) for token, id_ in self.mergeable_ranks.items())
        return dict(sorted(by_id.items()))

    @functools.cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pair each token longer than a byte is joined from, in the order of ids.

        There is one pair for each token, and no other pair of tokens with the same joined bytes is
        ever adjacent in an encoding: as nothing has been joined across the ends of those bytes
        before, what has happened between them is what happens to them alone.

        Raises:
            ValueError: If a token is no join of two tokens with lower ids, naming it.
        """
        if self._trained is not None:
            return self._trained.merges()
        return self._encoder.merges()

    @functools.cached_property
    def n_vocab(self) -> int:
        """The highest id plus one, as in tiktoken; ids with holes have fewer tokens than that."""
        if self._trained is not None:
            return len(self._trained) + len(self._special)
        return max(max(self.mergeable_ranks.values()), max(self._special.values(), default=0)) + 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides ids: pattern, tokens, special tokens, their ids.

        Named patterns count by what they match: known texts of one pattern give one fingerprint.
        """
        digest = hashlib.sha256(b"bytemill tokenizer 1\n")
        ranks = sorted((id_, token) for token, id_ in self.mergeable_ranks.items())
        special = sorted((id_, text.encode()) for text, id_ in self._special.items())
        pattern = self._pat_str.encode()
        digest.update(b"%d %d %d\n%b" % (len(pattern), len(ranks), len(special), pattern))
        digest.update(b"".join(b"%d %d\n%b" % (i, len(t), t) for i, t in [*ranks, *special]))
        return digest.hexdigest()

    def token_bytes(self) -> list[int]:
        """Bytes for each id, length `n_vocab`: 0 for special tokens and for holes."""
        lengths = [0] * self.n_vocab
        for token, id_ in self.mergeable_ranks.items():
            lengths[id_] = len(token)
        return lengths

    def _splits(self) -> dict[bytes, tuple[bytes, bytes] | None]:
        """For each token longer than a byte, by id, the pair it is joined from, or None if it never
        is.

        Unlike `merges` it also finds pairs with a part of higher id, which training cannot give.
        """
        ranks = self.mergeable_ranks
        tokens = [token for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
        try:
            return dict(zip(tokens, self.merges, strict=True))
        except ValueError:
            return {token: _split(token, ranks) for token in tokens}

    @functools.cached_property
    def _encoder(self) -> _core.Encoder:
        return _core.Encoder(self.mergeable_ranks, self._special, self._pat_str)

    @functools.cached_property
    def _decoder(self) -> _core.Decoder:
        return self._encoder.decoder


def check_ranks(ranks: dict[bytes, int]) -> None:
    """TypeError or ValueError for what `Tokenizer` does not accept, with the token."""
    for token, id_ in ranks.items():
        if not isinstance(token, bytes) or not token:
            kind = ValueError if token == b"" else TypeError
            raise kind(f"mergeable_ranks: {token!r} is no token; expected non-empty bytes")
        _check_id("mergeable_ranks", token, id_)
    missing = [b for b in range(256) if bytes([b]) not in ranks]
    if missing:
        raise ValueError(
            f"mergeable_ranks: {len(missing)} single bytes are missing, the first "
            f"0x{missing[0]:02x}; a byte-level vocabulary holds all 256"
        )
    if len(set(ranks.values())) < len(ranks):
        seen: dict[int, bytes] = {}
        for token, id_ in ranks.items():
            if id_ in seen:
                raise ValueError(f"mergeable_ranks: {seen[id_]!r} and {token!r} both have id {id_}")
            seen[id_] = token


def check_special(special: dict[str, int], taken: set[int]) -> None:
    """TypeError or ValueError for what `Tokenizer` does not accept, or for an id in `taken`."""
    for text, id_ in special.items():
        if not isinstance(text, str):
            raise TypeError(f"special_tokens: {text!r} is no str")
        if not text:
            raise ValueError("special_tokens: '' is empty; a special token needs a character")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError(f"special_tokens: {text!r} holds a surrogate, which has no UTF-8")
        _check_id("special_tokens", text, id_)
        if id_ in taken:
            raise ValueError(f"special_tokens: the id {id_} of {text!r} is taken by another token")


def _check_id(argument: str, token: object, id_: object) -> None:
    if not isinstance(id_, int) or isinstance(id_, bool):
        raise TypeError(f"{argument}: the id of {token!r} is {id_!r}; expected an int")
    if not 0 <= id_ < 2**32 - 1:
        raise ValueError(f"{argument}: the id of {token!r} is {id_}; expected 0 to 2**32 - 2")


def _split(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
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
