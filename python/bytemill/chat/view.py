"""Token ids and their mask for people: which tokens there are, and which are trained on."""

from __future__ import annotations

import html
from typing import Final

from bytemill.chat.render import Rendered
from bytemill.tokenizer.tokenizer import Tokenizer

_TRAINED: Final = "\x1b[32m"
_GIVEN: Final = "\x1b[31m"
_RESET: Final = "\x1b[0m"
_STYLE: Final = """
body { font: 15px/1.9 ui-monospace, monospace; margin: 2em auto; max-width: 60em; padding: 0 1em }
span { border-radius: 3px; margin: 0 1px; padding: 2px 1px; white-space: pre-wrap }
.trained { background: #c9efd0; color: #0b3314 }
.given { background: #f3d5d5; color: #4a1414 }
.special { font-weight: bold }
"""


def to_terminal(rendered: Rendered, tokenizer: Tokenizer, *, color: bool = True) -> str:
    """The tokens as one text: green is trained on, red is given; without color, trained tokens are
    in ⟦brackets⟧. Line breaks and control characters are written as escapes."""
    pieces = []
    for id, trained in zip(rendered.ids, rendered.mask, strict=True):
        shown = shown_token(tokenizer, id)
        if color:
            pieces.append(f"{_TRAINED if trained else _GIVEN}{shown}{_RESET}")
        else:
            pieces.append(f"⟦{shown}⟧" if trained else shown)
    return "".join(pieces)


def to_html(rendered: Rendered, tokenizer: Tokenizer, title: str = "A conversation") -> str:
    """The tokens as an HTML page of its own; pointing at one shows its id."""
    spans = []
    for id, trained in zip(rendered.ids, rendered.mask, strict=True):
        kind = "trained" if trained else "given"
        if tokenizer.is_control_token(id):
            kind += " special"
        shown = html.escape(shown_token(tokenizer, id))
        spans.append(f'<span class="{kind}" title="{id}">{shown}</span>')
    n_trained = sum(rendered.mask)
    about = f"{len(rendered.ids):,} tokens, of which {n_trained:,} are trained on"
    if rendered.cut is not None:
        about += f"; cut from {rendered.cut.n_tokens:,}"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{about}</p>\n<p>{''.join(spans)}</p>\n</html>\n"
    )


def shown_token(tokenizer: Tokenizer, id: int) -> str:
    r"""A token as text: special tokens by name, control characters and single bytes as escapes
    such as \n and \xe2."""
    data = tokenizer.decode_single_token_bytes(id)
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
