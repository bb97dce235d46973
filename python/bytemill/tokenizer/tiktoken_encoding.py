"""`TiktokenEncoding`: a `tiktoken.Encoding` that this package does the work of."""

from __future__ import annotations

from typing import Any

import tiktoken

from bytemill.formats.tiktoken import to_tiktoken
from bytemill.tokenizer.tiktoken_surface import TiktokenSurface
from bytemill.tokenizer.unstable import Unstable


# Attributes there are properties here, of what cannot be changed.
class TiktokenEncoding(TiktokenSurface, tiktoken.Encoding):  # type: ignore[override]
    """A `tiktoken.Encoding` for code that asks whether it is one.

    All methods of tiktoken 0.14 are `TiktokenSurface`'s. What else tiktoken may call of its own
    engine goes to that engine, which is made when it is first asked for.

    Args:
        tokenizer: What encodes and decodes.
    """

    def __init__(self, tokenizer: Unstable) -> None:
        TiktokenSurface.__init__(self, tokenizer)

    @property
    def _core_bpe(self) -> Any:
        made = vars(self).get("_made_core")
        if made is None:
            vocabulary = self._tokenizer.vocabulary
            made = vars(self)["_made_core"] = to_tiktoken(vocabulary, self.name)._core_bpe
        return made
