"""A tokenizer with the methods and defaults of a `tiktoken.Encoding`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Literal

from bytemill.formats import selfcheck
from bytemill.tokenizer.unstable import Unstable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]
_NONE: frozenset[str] = frozenset()


class TiktokenSurface:
    """What `tiktoken.Encoding` offers (of tiktoken 0.14), done by a tokenizer of this package.

    Its defaults are tiktoken's: a text that holds a special token is refused. Its errors are
    tiktoken's: ValueError for such a text, KeyError for an unknown token, OverflowError for an id
    that 32 bits cannot hold. Where tiktoken fails on a text, the answer is `Tokenizer`'s.

    Args:
        tokenizer: What encodes and decodes.
    """

    def __init__(self, tokenizer: Unstable) -> None:
        self._tokenizer = tokenizer

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    # Text to ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text, with special tokens in it as text like any other."""
        return self._tokenizer.encode_ordinary(text)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Allowed = _NONE,
        disallowed_special: Disallowed = "all",
    ) -> list[int]:
        """The ids of a text. ValueError if it holds a special token that is not allowed."""
        return self._tokenizer.encode(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Allowed = _NONE,
        disallowed_special: Disallowed = "all",
    ) -> npt.NDArray[np.uint32]:
        """As `encode`, in an array of uint32."""
        import numpy as np

        ids = self._tokenizer.encode_to_numpy(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        return ids.astype(np.uint32, copy=False)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """`encode_ordinary` of each text."""
        return self._tokenizer.encode_ordinary_batch(text, num_threads)

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Allowed = _NONE,
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """`encode` of each text."""
        return self._tokenizer.encode_batch(
            text,
            num_threads,
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
        )

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: Allowed = _NONE,
        disallowed_special: Disallowed = "all",
    ) -> tuple[list[int], list[list[int]]]:
        """The ids that are certain if the text goes on, and what may follow those, sorted."""
        return self._tokenizer.encode_with_unstable(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of a token, ordinary or special; KeyError if there is no such token."""
        return self._tokenizer.encode_single_token(text_or_bytes)

    # Ids to text

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The bytes of ids."""
        with _overflow():
            return self._tokenizer.decode_bytes(tokens)

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of ids."""
        with _overflow():
            return self._tokenizer.decode(tokens, errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of an id."""
        with _overflow():
            return self._tokenizer.decode_single_token_bytes(token)

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """The bytes of each id."""
        with _overflow():
            return self._tokenizer.decode_tokens_bytes(tokens)

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """The text of ids, and the first character of each."""
        with _overflow():
            return self._tokenizer.decode_with_offsets(tokens)

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """`decode` of each; `num_threads` has no effect, as decoding is fast enough on one."""
        with _overflow():
            return self._tokenizer.decode_batch(batch, errors)

    def decode_bytes_batch(
        self, batch: Sequence[Sequence[int]], *, num_threads: int = 8
    ) -> list[bytes]:
        """`decode_bytes` of each; `num_threads` as for `decode_batch`."""
        with _overflow():
            return self._tokenizer.decode_bytes_batch(batch)

    # What there is

    @property
    def name(self) -> str:
        """The tokenizer's name."""
        return self._tokenizer.name

    @property
    def n_vocab(self) -> int:
        """The highest id plus one."""
        return self._tokenizer.n_vocab

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return self._tokenizer.max_token_value

    @property
    def eot_token(self) -> int:
        """The id of "<|endoftext|>"; KeyError if there is none."""
        return self._tokenizer.eot_token

    @property
    def special_tokens_set(self) -> set[str]:
        """The special tokens."""
        return self._tokenizer.special_tokens_set

    def is_special_token(self, token: int) -> bool:
        """Whether an id is a special token's."""
        return self._tokenizer.is_special_token(token)

    def token_byte_values(self) -> list[bytes]:
        """The bytes of all ordinary tokens, sorted."""
        return self._tokenizer.token_byte_values()

    # What tiktoken keeps to itself and its documentation has people use

    @property
    def _pat_str(self) -> str:
        self._check_ranks()
        return self._tokenizer.pat_str

    @property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        self._check_ranks()
        return self._tokenizer.mergeable_ranks

    @property
    def _special_tokens(self) -> dict[str, int]:
        return self._tokenizer.special_tokens

    @property
    def _special_token_values(self) -> set[int]:
        return set(self._tokenizer.special_tokens.values())

    def _encode_bytes(self, text: bytes) -> list[int]:
        return self._tokenizer._ids_of_bytes(text)

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        piece = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        return self._tokenizer._merged(piece)

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        return self._tokenizer.encode_ordinary(text)

    def _check_ranks(self) -> None:
        selfcheck.refuse_shape(self._tokenizer.vocabulary, "an encoding's ranks and pattern")

    # A pickle is read with tiktoken or without it.
    def __reduce__(self) -> tuple[Any, ...]:
        return methodcaller("as_tiktoken"), (self._tokenizer,)


@contextlib.contextmanager
def _overflow() -> Iterator[None]:
    """Raises what tiktoken raises for ids that 32 bits cannot hold."""
    try:
        yield
    except KeyError as error:
        id_ = error.args[0]
        if isinstance(id_, int) and not 0 <= id_ < 2**32:
            raise OverflowError(f"the id {id_} does not fit in 32 bits") from error
        raise
