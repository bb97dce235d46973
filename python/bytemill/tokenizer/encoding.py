"""Text to ids: the encoding half of `Tokenizer`."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bytemill import _core
from bytemill._arguments import check_integer, check_iterable, check_limit, shown
from bytemill._types import IdArray, SpecialChoice
from bytemill.tokenizer.allowing import Allowing, check_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SLICE = 16384
"""How much of a long piece is encoded at a time when streaming, in characters."""


class Encoding(Allowing):
    """What encodes text.

    By default all special tokens become their ids where the text holds them, the longest of several
    at one place, as with Hugging Face and in CS336: the separators in a corpus are meant. tiktoken
    by default allows none and raises where the text holds one: for text that strangers wrote, pass
    allowed_special=() or tiktoken's defaults, allowed_special=() with disallowed_special="all".

    Ctrl-C ends a batch or a long text after a fraction of a second. It has to wait for a run of
    text without white space, for a text that a custom pattern does not allow to be cut, and for
    `encode_with_offsets` and `truncate`. Results never depend on the number of threads. Where
    memory runs out, MemoryError is raised and the tokenizer is as before.
    """

    # One text

    def encode(
        self,
        text: str,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
        add_special_tokens: bool = False,
    ) -> list[int]:
        """The ids of `text`.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.
            add_special_tokens: Whether to put the ids before and after the text that the
                post-processor of a tokenizer.json puts there.

        Raises:
            TypeError: If a text is not a str, or a set of special tokens is a str but "all".
            ValueError: If a text holds what is disallowed; if a custom pattern backtracks too far.
        """
        if allowed_special == "all" and disallowed_special == ():
            try:
                ids = self._encoder.encode(text)
            except TypeError:
                check_text(text)
                raise
        else:
            check_text(text)
            allowed = self._check([text], allowed_special, disallowed_special)
            ids = self._encoder.encode(text, allowed)
        return self._surrounded(ids) if add_special_tokens else ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text` with special tokens in it as text like any other.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.

        Raises:
            TypeError, ValueError: As `encode`.
        """
        try:
            return self._encoder.encode_ordinary(text)
        except TypeError:
            check_text(text)
            raise

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> IdArray:
        """The ids of `text` as an array, which costs less than a list.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.

        Raises:
            TypeError, ValueError: As `encode`.

        Returns:
            uint16 if `n_vocab` is at most 65,536, else uint32.
        """
        check_text(text)
        allowed = self._check([text], allowed_special, disallowed_special)
        return self._array(self._encoder.encode_to_array(text, self._width, allowed))

    def encode_with_offsets(
        self,
        text: str,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
        add_special_tokens: bool = False,
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of `text`, and for each the characters of `text` it stands for.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.
            add_special_tokens: Whether to put the ids before and after the text that the
                post-processor of a tokenizer.json puts there.

        Returns:
            The ids, and as many pairs (start, end): token i is in `text[start:end]`. Where several
            tokens share a character, each has the whole of it in its span. Spans follow each other
            without a gap, unless a custom pattern leaves text out.
        """
        check_text(text)
        allowed = self._check([text], allowed_special, disallowed_special)
        ids, offsets = self._encoder.encode_with_offsets(text, allowed)
        if add_special_tokens:
            before, after = self._around
            offsets = [(0, 0)] * len(before) + offsets + [(0, 0)] * len(after)
            ids = self._surrounded(ids)
        return ids, offsets

    def count(
        self,
        text: str,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
        add_special_tokens: bool = False,
    ) -> int:
        """How many ids `encode` would give.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.
            add_special_tokens: Whether to put the ids before and after the text that the
                post-processor of a tokenizer.json puts there.

        Raises:
            TypeError, ValueError: As `encode`.
        """
        if allowed_special == "all" and disallowed_special == ():
            try:
                count = self._encoder.count(text)
            except TypeError:
                check_text(text)
                raise
        else:
            check_text(text)
            allowed = self._check([text], allowed_special, disallowed_special)
            count = self._encoder.count(text, allowed)
        return count + sum(map(len, self._around)) if add_special_tokens else count

    def truncate(
        self,
        text: str,
        max_tokens: int,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> str:
        """The beginning of `text` that fits in `max_tokens` tokens.

        It is `text` itself if that fits. Otherwise it is what the first `max_tokens` tokens stand
        for, without a character that they hold only a part of. Such a beginning may have more
        pretokens by itself than it had in `text` (with gpt2 "'l" is two, "'ll" is one) and so more
        tokens; in that case it is cut further, at the ends of tokens, until it fits too.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.
            max_tokens: At least 0.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.

        Raises:
            TypeError, ValueError: For a negative `max_tokens` and one that is not an integer;
                further as `encode`.
        """
        check_text(text)
        check_limit("max_tokens", check_integer("max_tokens", max_tokens), least=0)
        allowed = self._check([text], allowed_special, disallowed_special)
        return text[: self._encoder.truncate(text, max_tokens, allowed)]

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of one token, ordinary or special, given whole.

        Args:
            text_or_bytes: The token.

        Raises:
            KeyError: If there is no such token.
            TypeError: If it is neither str nor bytes.
        """
        if isinstance(text_or_bytes, str):
            units = text_or_bytes.encode("utf-16-le", "surrogatepass")
            text = units.decode("utf-16-le", "replace")
            token = text.encode()
        elif isinstance(text_or_bytes, bytes):
            token, text = text_or_bytes, text_or_bytes.decode(errors="surrogateescape")
        else:
            raise TypeError(f"text_or_bytes={shown(text_or_bytes)}: a token is a str or bytes")
        id_ = self.mergeable_ranks.get(token)
        if id_ is None:
            id_ = self.special_tokens.get(text)
        if id_ is None:
            raise KeyError(text_or_bytes)
        return id_

    # Many texts

    def encode_batch(
        self,
        texts: Iterable[str],
        num_threads: int | None = None,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
        add_special_tokens: bool = False,
    ) -> list[list[int]]:
        """The ids of each text, in their order.

        Args:
            texts: The texts, a list or another iterable of str.
            num_threads: Threads to use; one for each core by default.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.
            add_special_tokens: Whether to put the ids before and after the text that the
                post-processor of a tokenizer.json puts there.

        Raises:
            TypeError, ValueError: As `encode`; for fewer threads than one.
        """
        batch, threads = _batch(texts), check_limit("num_threads", num_threads)
        allowed = self._check(batch, allowed_special, disallowed_special)
        all_ids = self._encoder.encode_batch(batch, threads, allowed)
        return [self._surrounded(ids) for ids in all_ids] if add_special_tokens else all_ids

    def encode_ordinary_batch(
        self, texts: Iterable[str], num_threads: int | None = None
    ) -> list[list[int]]:
        """As `encode_batch`, with special tokens as text like any other.

        Args:
            texts: The texts, a list or another iterable of str.
            num_threads: Threads to use; one for each core by default.
        """
        return self.encode_batch(texts, num_threads, allowed_special=())

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        num_threads: int | None = None,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> "tuple[IdArray, npt.NDArray[np.uint64]]":
        """The ids of all texts in one array. Errors are those of `encode_batch`.

        Args:
            texts: The texts, a list or another iterable of str.
            num_threads: Threads to use; one for each core by default.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.

        Returns:
            ids: Those of the first text, then those of the second and so on; uint16 if `n_vocab` is
                at most 65,536, else uint32.
            offsets: Text i has `ids[offsets[i]:offsets[i + 1]]`; uint64, one more than texts.
        """
        import numpy as np

        batch, threads = _batch(texts), check_limit("num_threads", num_threads)
        allowed = self._check(batch, allowed_special, disallowed_special)
        ids, offsets = self._encoder.encode_batch_to_arrays(batch, self._width, threads, allowed)
        little = np.dtype("<u2" if self._width == 2 else "<u4")
        return np.frombuffer(ids, little), np.frombuffer(offsets, np.uint64)

    def count_batch(
        self,
        texts: Iterable[str],
        num_threads: int | None = None,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> list[int]:
        """How many ids each text has. Errors are those of `encode_batch`.

        Args:
            texts: The texts, a list or another iterable of str.
            num_threads: Threads to use; one for each core by default.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.
        """
        batch, threads = _batch(texts), check_limit("num_threads", num_threads)
        allowed = self._check(batch, allowed_special, disallowed_special)
        return self._encoder.count_batch(batch, threads, allowed)

    # Text in pieces

    def encode_iterable(
        self, iterable: Iterable[str], *, allowed_special: SpecialChoice = "all"
    ) -> Iterator[int]:
        """The ids of `"".join(iterable)`, one by one, however the text is cut into pieces.

        Nothing is read before the first id is asked for, and no more than it takes. With a named
        pattern it holds a piece of the text, and what comes after the last place where neither a
        special token nor a pretoken can be open, or where no token can lie inside a pretoken: a
        word or so, a few characters of Chinese or Japanese (if the vocabulary comes from training),
        but all of a run of ASCII letters or punctuation without an end. With a custom pattern it
        may hold all of any run; with one of which nothing can be known it holds all text since
        the last special token.

        Args:
            iterable: Pieces of the text, such as a file opened for reading text.
            allowed_special: Special tokens that become their ids, "all" or a set.

        Raises:
            TypeError, ValueError: As `encode`, when the piece is reached.
        """
        if not isinstance(iterable, str):  # which is pieces, if small ones
            check_iterable("iterable", iterable, "pieces of a text, such as an open file")
        stream = self._encoder.stream(self._check((), allowed_special, ()))
        return itertools.chain.from_iterable(_stream(stream, iterable))

    # Inside

    @property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that a tokenizer.json puts before a text and after it."""
        shape = self._vocabulary.shape
        return ((), ()) if shape is None else (shape.before, shape.after)

    def _surrounded(self, ids: list[int]) -> list[int]:
        before, after = self._around
        return [*before, *ids, *after]

    @property
    def _width(self) -> int:
        return 2 if self.n_vocab <= 65536 else 4

    def _array(self, data: bytearray) -> IdArray:
        import numpy as np

        if self._width == 2:
            return np.frombuffer(data, dtype=np.uint16)
        return np.frombuffer(data, dtype=np.uint32)


def _batch(texts: Iterable[str]) -> list[str]:
    wanted = "a list of str; for one text there are encode and count"
    return texts if isinstance(texts, list) else list(check_iterable("texts", texts, wanted))


def _stream(stream: _core.StreamEncoder, pieces: Iterable[str]) -> Iterator[list[int]]:
    for piece in pieces:
        if isinstance(piece, str) and len(piece) > _SLICE:
            for i in range(0, len(piece), _SLICE):
                yield stream.push(piece[i : i + _SLICE])
        else:
            yield stream.push(piece)
    yield stream.finish()
