"""Figures and tables that the programs print."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from bytemill import Tokenizer


def rows(pairs: Iterable[tuple[str, str]]) -> str:
    """Two columns, aligned."""
    table = list(pairs)
    width = max(len(name) for name, _ in table)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in table)


def megabytes(n_bytes: int) -> str:
    """`n_bytes` in MB (10^6 bytes), or in kB if that is less than one."""
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:,.1f} kB"


def peak_memory() -> int | None:
    """The most memory this process has had resident, in bytes; None where it cannot be told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass
class Compression:
    """How many tokens some text takes."""

    n_documents: int = 0
    n_bytes: int = 0
    n_tokens: int = 0

    def __str__(self) -> str:
        if not self.n_tokens:
            return "no text"
        return (
            f"{self.n_bytes / self.n_tokens:.3f} bytes per token ({self.n_documents:,} documents, "
            f"{megabytes(self.n_bytes)})"
        )


def compression(tokenizer: Tokenizer, documents: Iterable[str]) -> Compression:
    """Encodes documents; special tokens in them are read as ordinary text."""
    result = Compression()
    for document in documents:
        result.n_documents += 1
        result.n_bytes += len(document.encode("utf-8", "replace"))
        result.n_tokens += len(tokenizer.encode_ordinary(document))
    return result


def longest_tokens(tokenizer: Tokenizer, n: int = 8, most_chars: int = 32) -> list[str]:
    """The `n` longest tokens, special tokens aside, longest first, shown on one line each."""
    tokens = sorted(tokenizer.mergeable_ranks, key=lambda token: (-len(token), token))[:n]
    return [f"{show(token, most_chars)} ({len(token)})" for token in tokens]


def show(token: bytes, most_chars: int = 32) -> str:
    """A token as a quoted string, shortened; bytes that are no UTF-8 by themselves as \\xNN."""
    text = repr(token.decode("utf-8", "backslashreplace"))
    return text if len(text) <= most_chars else text[: most_chars - 4] + "..." + text[0]
