"""Which special tokens become their ids in a text: what the encoding half of `Tokenizer` checks."""

import functools
import re
from collections.abc import Iterable
from typing import Final, NoReturn

from bytemill import _core
from bytemill._arguments import check_iterable, check_str, shown
from bytemill._types import SpecialChoice
from bytemill.tokenizer.contents import Contents

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_MAX_SETS = 64
"""How many sets of special tokens a tokenizer remembers."""


class Allowing(Contents):
    """Turns choices of special tokens into what the Rust core takes."""

    def _check(
        self, texts: Iterable[str], allowed: SpecialChoice, disallowed: SpecialChoice
    ) -> _core.SpecialSet | None:
        """What to pass to the core for `allowed`, once no text holds what is disallowed."""
        specials = self.special_tokens
        some = _chosen("allowed_special", allowed)
        chosen = _chosen("disallowed_special", disallowed)
        if chosen is None:
            refused = frozenset() if some is None else frozenset(specials) - some
        else:
            # As in tiktoken, also what is no token here.
            refused = chosen
        if refused:
            finder = self._finder(refused)
            for i, text in enumerate(texts):
                if not isinstance(text, str):
                    raise TypeError(f"texts[{i}] is of {type(text)}; expected a str")
                found = finder.find(text)
                if found is not None:
                    _refuse(found)
        if some is None:
            return None
        return self._set(some.intersection(specials))

    def _set(self, tokens: frozenset[str]) -> _core.SpecialSet:
        """A searcher, which costs more to make than to use."""
        found = self._sets.get(tokens)
        if found is None:
            if len(self._sets) >= _MAX_SETS:
                self._sets.clear()
            found = self._sets[tokens] = self._encoder.special_set(sorted(tokens))
        return found

    def _finder(self, tokens: frozenset[str]) -> _core.SpecialSet:
        """As `_set`, of any texts, for those that are refused."""
        found = self._finders.get(tokens)
        if found is None:
            if len(self._finders) >= _MAX_SETS:
                self._finders.clear()
            found = self._finders[tokens] = _core.SpecialSet(sorted(tokens))
        return found

    @functools.cached_property
    def _finders(self) -> dict[frozenset[str], _core.SpecialSet]:
        return {}

    @functools.cached_property
    def _sets(self) -> dict[frozenset[str], _core.SpecialSet]:
        return {}


def check_text(text: object) -> None:
    """Refuses what is not one text with TypeError."""
    check_str("text", text, "a str; for several texts there are encode_batch and count_batch")


def _chosen(name: str, choice: SpecialChoice) -> frozenset[str] | None:
    """The tokens that a choice names; None for "all"."""
    if choice == "all":
        return None
    wanted = '"all" or a set of special tokens, () for none'
    tokens = list(check_iterable(name, choice, wanted))
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"{name}: {shown(token)} is not a str; expected {wanted}")
        if _SURROGATE.search(token):
            raise ValueError(f"{name}: {shown(token)} holds a surrogate, which no token does")
    return frozenset(tokens)


def _refuse(token: str) -> NoReturn:
    raise ValueError(
        f"the text holds {token!r}, which is a disallowed special token. To encode it as a special "
        f"token, pass allowed_special={{{token!r}}}; to encode it as text like any other, leave it "
        f"out of disallowed_special, or pass disallowed_special=() to check for none"
    )
