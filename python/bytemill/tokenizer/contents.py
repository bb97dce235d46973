"""What a `Tokenizer` is made of, read from its vocabulary."""

import functools

from bytemill import _core
from bytemill.vocabulary import Pair, Vocabulary


class Contents:
    """A vocabulary's tokens and names; what encoding and decoding build on."""

    _vocabulary: Vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        """All that decides ids, as a value that `bytemill.formats` and `bytemill.data` take."""
        return self._vocabulary

    @property
    def name(self) -> str:
        """A name for people; it decides nothing."""
        return self._vocabulary.name

    @property
    def pat_str(self) -> str:
        """The split pattern's regex."""
        return self._vocabulary.pat_str

    @functools.cached_property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens with their ids, in the order given."""
        return self._vocabulary.special_tokens

    @property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """The ordinary tokens with their ids."""
        return self._vocabulary.mergeable_ranks

    @property
    def vocab(self) -> dict[int, bytes]:
        """All tokens by id, in the order of ids; special tokens as their UTF-8."""
        return self._vocabulary.vocab

    @property
    def merges(self) -> list[Pair]:
        """The pair each token longer than a byte is joined from, in the order of ids.

        `Vocabulary.merges` says why there is one pair for each token.

        Raises:
            ValueError: If a token is not a join of two tokens with lower ids, naming it.
        """
        return self._vocabulary.merges

    @functools.cached_property
    def n_vocab(self) -> int:
        """The highest id plus one, as in tiktoken; ids with holes have fewer tokens than that."""
        return self._vocabulary.n_vocab

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides ids: pattern, tokens, special tokens, their ids.

        Named patterns count by what they match: known texts of one pattern give one fingerprint.
        """
        return self._vocabulary.fingerprint

    def token_bytes(self) -> list[int]:
        """Bytes for each id, length `n_vocab`: 0 for special tokens and for holes."""
        return self._vocabulary.token_bytes()

    @functools.cached_property
    def _encoder(self) -> _core.Encoder:
        return self._vocabulary.encoder

    @functools.cached_property
    def _decoder(self) -> _core.Decoder:
        return self._vocabulary.decoder
