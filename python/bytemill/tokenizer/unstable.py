"""The ids of text that goes on: which of them are certain, and what may follow those."""

import functools
import itertools
import re
from bisect import bisect_left

from bytemill import _core
from bytemill._types import SpecialChoice
from bytemill.tokenizer.decoding import Decoding
from bytemill.tokenizer.encoding import Encoding

_BLANK = frozenset(b" \n\t")
_SEPARATORS = "\x1c\x1d\x1e\x1f"
"""White space to Python, but not to Unicode."""


class Unstable(Encoding, Decoding):
    """What tells the certain ids of a beginning of text from those that may change."""

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> tuple[list[int], list[list[int]]]:
        """The ids of `text` up to its last pretoken, and what may stand for that if text follows.

        As in tiktoken, whose method it is (0.14): its completions in another order, here sorted. A
        completion ends with the token that reaches the end of `text` or goes beyond it. It is made
        by trying all tokens at every place in the last pretoken (white space before it, if it is
        white space, included), so that it takes a while if that is long or a single blank.

        Args:
            text: The text. Surrogates that pair up are one character, others U+FFFD.
            allowed_special: Special tokens that become their ids in the text, "all" or a set;
                others are text like any other. After one of them at the end nothing is uncertain.
            disallowed_special: Texts that are refused, or "all" for the special tokens that are
                not allowed.

        Raises:
            TypeError, ValueError: As `encode`.

        Returns:
            The ids that are certain, and the completions, of one or more ids each. The bytes of the
            former are a beginning of the text's, with each of the latter the text's or longer.
        """
        allowed, disallowed = allowed_special, disallowed_special
        ids = self.encode(text, allowed_special=allowed, disallowed_special=disallowed)
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        n = self._n_unstable(self._after_special(text, allowed), ids)
        if n == 0:
            return ids, []
        certain, rest = ids[:-n], self.decode_bytes(ids[-n:])
        found: set[tuple[int, ...]] = {
            (self.mergeable_ranks[token],) for token in self._beginning_with(rest)
        }
        readable: list[str] = []
        for at in range(1, len(rest)):
            for token in self._beginning_with(rest[at:]):
                longer = rest[:at] + token
                try:
                    readable.append(longer.decode())
                except UnicodeDecodeError:
                    found.add(self._up_to(self._merged(longer), len(rest)))
        for longer_ids in self.encode_ordinary_batch(readable):
            found.add(self._up_to(longer_ids, len(rest)))
        # `\s+(?!\S)` leaves the last blank to what follows.
        blank = _last_white_space(rest)
        if 0 < blank < len(rest):
            found.add((*self._merged(rest[:-blank]), *self._merged(rest[-blank:])))
        return certain, [list(completion) for completion in sorted(found)]

    def _n_unstable(self, text: str, ids: list[int]) -> int:
        """How many of `ids` may change if `text`, with which they end, goes on."""
        n = self._last_pretoken(text, ids)
        if n > 0 and self._is_blank(ids[-n]):
            # A line end that follows may take in all white space before it.
            n += sum(1 for _ in itertools.takewhile(self._is_blank, reversed(ids[:-n])))
        return n

    def _ids_of_bytes(self, data: bytes) -> list[int]:
        """The ids of bytes, as tiktoken's method `_encode_bytes` gives them: from the last pretoken
        before a byte that is not UTF-8 to the end is one pretoken."""
        try:
            return self.encode_ordinary(data.decode())
        except UnicodeDecodeError as error:
            text = data[: error.start].decode()
            rest = data[error.start :]
        ids = self.encode_ordinary(text)
        n = self._n_unstable(text, ids)
        if n:
            ids, rest = ids[:-n], self.decode_bytes(ids[-n:]) + rest
        return [*ids, *self._merged(rest)]

    def _after_special(self, text: str, allowed: SpecialChoice) -> str:
        """The text after the last allowed special token."""
        known = self.special_tokens
        tokens = [t for t in known if allowed == "all" or t in allowed]
        if not tokens:
            return text
        longest_first = sorted(tokens, key=len, reverse=True)
        end = 0
        for match in re.finditer("|".join(map(re.escape, longest_first)), text):
            end = match.end()
        return text[end:]

    def _last_pretoken(self, text: str, ids: list[int]) -> int:
        """How many of `ids` are of the last pretoken of `text`, with which they end."""
        counting = _core.CountingPass(self.pat_str, [], num_threads=1)
        counting.feed([text])
        pretokens = [token for token, _ in counting.finish().items() if len(token) > 1]
        # With each pretoken a token of its own, there is one id for each.
        ranks = {bytes([byte]): byte for byte in range(256)}
        ranks.update((token, 256 + i) for i, token in enumerate(pretokens))
        encoder = _core.Encoder(ranks, {}, self.pat_str)
        in_order = encoder.encode_ordinary(text)
        if not in_order:
            return 0
        left = len(encoder.decoder.decode_single_token_bytes(in_order[-1]))
        n = 0
        while left > 0:
            n += 1
            left -= len(self.decode_single_token_bytes(ids[-n]))
        return n

    def _is_blank(self, id: int) -> bool:
        return not self.is_special_token(id) and _BLANK.issuperset(
            self.decode_single_token_bytes(id)
        )

    @functools.cached_property
    def _sorted_tokens(self) -> list[bytes]:
        return self.token_byte_values()

    def _beginning_with(self, start: bytes) -> list[bytes]:
        """The ordinary tokens that begin with `start`."""
        tokens = self._sorted_tokens
        at = bisect_left(tokens, start)
        return list(itertools.takewhile(lambda t: t.startswith(start), tokens[at:]))

    def _up_to(self, ids: list[int], n_bytes: int) -> tuple[int, ...]:
        """The first of `ids` that have `n_bytes` together, or more."""
        taken: list[int] = []
        for id_ in ids:
            if n_bytes <= 0:
                break
            taken.append(id_)
            n_bytes -= len(self.decode_single_token_bytes(id_))
        return tuple(taken)

    def _merged(self, pretoken: bytes) -> list[int]:
        """The ids that merging leaves of bytes, which need not be UTF-8."""
        ranks = self.mergeable_ranks
        if pretoken in ranks:
            return [ranks[pretoken]]
        parts = [pretoken[i : i + 1] for i in range(len(pretoken))]
        while len(parts) > 1:
            joined = [ranks.get(a + b, len(ranks) + 2**32) for a, b in itertools.pairwise(parts)]
            at = joined.index(min(joined))
            if parts[at] + parts[at + 1] not in ranks:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [ranks[part] for part in parts]


def _last_white_space(text: bytes) -> int:
    """The length in bytes of the last character, if it is white space; else 0."""
    for n in range(1, min(4, len(text)) + 1):
        try:
            char = text[-n:].decode()
        except UnicodeDecodeError:
            continue
        return n if char.isspace() and char not in _SEPARATORS else 0
    return 0
