"""What a `Tokenizer` is made of, read from its vocabulary."""

import functools

from bytemill import _core
from bytemill._arguments import check_integer
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
    def vocab_size(self) -> int:
        """`n_vocab`: how many rows an embedding, or logits, need for all ids."""
        return self.n_vocab

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return self.n_vocab - 1

    @property
    def eot_token(self) -> int:
        """The id of "<|endoftext|>"; KeyError if that is not a special token here."""
        return self.special_tokens["<|endoftext|>"]

    @property
    def special_tokens_set(self) -> set[str]:
        """The special tokens."""
        return set(self.special_tokens)

    @functools.cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.special_tokens.values())

    def is_special_token(self, token: int) -> bool:
        """Whether an id is a special token's; not for a hole.

        Args:
            token: The id.

        Raises:
            TypeError: If it is not an int.
        """
        return check_integer("token", token) in self._special_ids

    @functools.cached_property
    def _control_ids(self) -> frozenset[int]:
        shape = self._vocabulary.shape
        added = () if shape is None else shape.added
        in_text = {token.content for token in added if not token.special}
        return frozenset(id_ for text, id_ in self.special_tokens.items() if text not in in_text)

    def is_control_token(self, token: int) -> bool:
        """Whether an id is a special token's that no text becomes, so that it is not text itself.

        A tokenizer.json may add tokens without calling them special, such as runs of spaces. They
        are among `special_tokens`, but ordinary text becomes them always: what a model writes with
        them is text, which people are to read.

        Args:
            token: The id.

        Raises:
            TypeError: If it is not an int.
        """
        return check_integer("token", token) in self._control_ids

    def token_byte_values(self) -> list[bytes]:
        """The bytes of all ordinary tokens, sorted by bytes."""
        return sorted(self.mergeable_ranks)

    def __len__(self) -> int:
        """How many tokens there are, special ones included: `n_vocab` less the holes among ids.

        Special tokens that share an id count once.
        """
        return len(self.vocab)

    def __contains__(self, token: object) -> bool:
        """Whether a str or bytes is a token, ordinary or special, or an int is the id of one.

        Raises:
            TypeError: For anything else.
        """
        if isinstance(token, str):
            as_bytes = token.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            return token in self.special_tokens or as_bytes.encode() in self.mergeable_ranks
        if isinstance(token, bytes):
            text = token.decode(errors="surrogateescape")
            return token in self.mergeable_ranks or text in self.special_tokens
        return check_integer("token", token) in self.vocab  # type: ignore[arg-type]

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides ids: pattern, tokens, special tokens, their ids.

        Named patterns count by what they match: known texts of one pattern give one fingerprint.
        """
        return self._vocabulary.fingerprint

    def token_bytes(self) -> list[int]:
        """Bytes for each id, length `n_vocab`: 0 for special tokens and for holes.

        Added tokens that are not special (`is_control_token`) are text, and have their bytes.
        """
        return self._vocabulary.token_bytes()

    @functools.cached_property
    def _encoder(self) -> _core.Encoder:
        return self._vocabulary.encoder

    @functools.cached_property
    def _decoder(self) -> _core.Decoder:
        return self._vocabulary.decoder
