"""The page: one file, whose script and style are allowed by their hashes and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Final


def _hashes(tag: str, text: str) -> str:
    inner = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in inner)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


_TEXT: Final = resources.files("bytemill.serve").joinpath("page.html").read_text(encoding="utf-8")

CONTENT: Final = _TEXT.encode()

HEADERS: Final = {
    "content-security-policy": (
        f"default-src 'none'; script-src {_hashes('script', _TEXT)}; "
        f"style-src {_hashes('style', _TEXT)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "cache-control": "no-cache",
}
