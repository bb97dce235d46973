"""Which special tokens become their ids in a text: what the encoding half of `Tokenizer` checks."""

import functools
from collections.abc import Iterable
from typing import NoReturn

from bytemill import _core
from bytemill._types import SpecialChoice
from bytemill.tokenizer.contents import Contents

_MAX_SETS = 64
"""How many sets of special tokens a tokenizer remembers."""


class Allowing(Contents):
    """Turns choices of special tokens into what the Rust core takes."""

    def _check(
        self, texts: Iterable[str], allowed: SpecialChoice, disallowed: SpecialChoice
    ) -> _core.SpecialSet | None:
        """What to pass to the core for `allowed`, once no text holds what is disallowed."""
        specials = self.special_tokens
        some = None if _is_all("allowed_special", allowed) else frozenset(allowed)
        if _is_all("disallowed_special", disallowed):
            refused = frozenset() if some is None else frozenset(specials) - some
        else:
            refused = frozenset(disallowed)
        if refused:
            finder = self._finder(refused)
            for text in texts:
                found = finder.find(text)
                if found is not None:
                    _refuse(found)
        if some is None:
            return None
        known = some.intersection(specials)
        for text in some - known:
            if not isinstance(text, str):
                raise TypeError(f"allowed_special: {text!r} is not a str")
        return self._set(known)

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


def _is_all(name: str, choice: SpecialChoice) -> bool:
    if isinstance(choice, str) and choice != "all":
        raise TypeError(f'{name}={choice!r}: expected "all" or a set of special tokens')
    return choice == "all"


def _refuse(token: str) -> NoReturn:
    raise ValueError(
        f"the text holds {token!r}, which is a disallowed special token. To encode it as a special "
        f"token, pass allowed_special={{{token!r}}}; to encode it as text like any other, leave it "
        f"out of disallowed_special, or pass disallowed_special=() to check for none"
    )
