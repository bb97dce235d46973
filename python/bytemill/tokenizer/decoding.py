"""Ids to text: the decoding half of `Tokenizer`."""

from collections.abc import Iterable
from typing import Literal

from bytemill import _core
from bytemill._arguments import check_iterable, check_str, shown
from bytemill._types import Ids
from bytemill.tokenizer.contents import Contents


class Decoding(Contents):
    """What decodes ids. Its methods have these in common:

    Args:
        ids: A list, tuple or other iterable of ints, a NumPy array of integers or a torch tensor.
            True and False are the ints 1 and 0, as everywhere in Python; an array of them is a
            mask, and refused.
        errors: What to do with bytes that are not UTF-8, as for `bytes.decode`. Parts of a text's
            ids may begin and end inside a character.

    Raises:
        KeyError: With the first id that is not a token.
        TypeError: For what is not an int; for a set or a dict, which have no order of ids; for an
            array of bools.
        UnicodeDecodeError: For bytes that are not UTF-8, with errors="strict".
    """

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """The text of `ids`, which may begin and end inside a character.

        Args:
            ids: Ints: a list or another iterable, a NumPy array or a torch tensor.
            errors: What to do with bytes that are not UTF-8, as for `bytes.decode`.

        Raises:
            KeyError: With the first id that is not a token.
            TypeError: For what is not an int.
            UnicodeDecodeError: For bytes that are not UTF-8, with errors="strict".
        """
        try:
            return self._decoder.decode(ids, errors)
        except (TypeError, UnicodeEncodeError):
            _check_errors(errors)
            raise

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of `ids`, joined.

        Args:
            ids: Ints: a list or another iterable, a NumPy array or a torch tensor.

        Raises:
            KeyError: With the first id that is not a token.
            TypeError: For what is not an int.
        """
        return self._decoder.decode_bytes(ids)

    def decode_batch(self, batch: Iterable[Ids], errors: str = "replace") -> list[str]:
        """The text of each of several sequences of ids. Errors are those of `decode`.

        Args:
            batch: Sequences of ids, each as for `decode`.
            errors: What to do with bytes that are not UTF-8, as for `bytes.decode`.
        """
        _check_errors(errors)
        return self._decoder.decode_batch(_batch(batch), errors)

    def decode_bytes_batch(self, batch: Iterable[Ids]) -> list[bytes]:
        """The bytes of each of several sequences of ids. Errors are those of `decode_bytes`.

        Args:
            batch: Sequences of ids, each as for `decode`.
        """
        return [self._decoder.decode_bytes(ids) for ids in _batch(batch)]

    def decode_tokens_bytes(self, ids: Ids) -> list[bytes]:
        """The bytes of each id. Errors are those of `decode_bytes`.

        Args:
            ids: Ints: a list or another iterable, a NumPy array or a torch tensor.
        """
        return self._decoder.decode_tokens_bytes(ids)

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[int]]:
        """The text of `ids`, and for each the index of the first character it holds a part of.

        Args:
            ids: Ints: a list or another iterable, a NumPy array or a torch tensor.

        Raises:
            KeyError, TypeError: As `decode`.
            UnicodeDecodeError: If the bytes of all ids are not UTF-8, as in tiktoken.
        """
        return self._decoder.decode_with_offsets(ids)

    def decode_single_token_bytes(self, id: int) -> bytes:
        """The bytes of one id; special tokens as their UTF-8.

        Args:
            id: The id.

        Raises:
            KeyError: If it is not a token.
            TypeError: If it is not an int.
        """
        return self._decoder.decode_single_token_bytes(id)

    def stream_decoder(self, errors: Literal["replace", "strict"] = "replace") -> "StreamDecoder":
        """A decoder for ids that come one by one or in pieces: `push` them, then `finish`.

        The strings it gives out, joined, are what `decode` gives for all ids; none of them changes
        with what follows, as a character is only given out whole.

        Args:
            errors: What to do with bytes that are not UTF-8: read U+FFFD, or raise.

        Raises:
            TypeError, ValueError: For another `errors`.
        """
        _check_errors(errors)
        return self._encoder.stream_decoder(errors)


def _batch(batch: Iterable[Ids]) -> Iterable[Ids]:
    return check_iterable("batch", batch, "lists of ids; for one list there is decode")


def _check_errors(errors: object) -> None:
    wanted = 'the name of an error handler, such as "replace" or "strict"'
    if any("\ud800" <= char <= "\udfff" for char in check_str("errors", errors, wanted)):
        raise ValueError(f"errors={shown(errors)}: expected {wanted}")


StreamDecoder = _core.StreamDecoder
