"""Figures and tables as the programs print them."""

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


def count(n: int, thing: str) -> str:
    """`n` things, of which `thing` is one: "1 row", "2,048 rows"."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def figure(value: float, digits: int = 3) -> str:
    """`value` to so many significant digits: "0.0123", "1,230", "4.51e12"."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{float(f'{value:.{digits}g}'):,.12g}"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{short}e{int(power)}"


def phase(seconds: float, n_bytes: int) -> str:
    """How long a phase took, and how fast that is."""
    rate = f", {n_bytes / 1e6 / seconds:,.0f} MB/s" if seconds > 0 else ""
    return f"{megabytes(n_bytes)} in {seconds:.2f} s{rate}"


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
            f"{self.n_bytes / self.n_tokens:.3f} bytes per token "
            f"({count(self.n_documents, 'document')}, {megabytes(self.n_bytes)})"
        )


def compression(tokenizer: Tokenizer, documents: Iterable[str]) -> Compression:
    """Encodes documents; special tokens in them are read as ordinary text."""
    result = Compression()
    for document in documents:
        result.n_documents += 1
        result.n_bytes += len(document.encode("utf-8", "replace"))
        result.n_tokens += len(tokenizer.encode_ordinary(document))
    return result


def longest_tokens(tokenizer: Tokenizer, n: int = 5) -> list[str]:
    """The `n` longest tokens, special tokens aside, longest first, with their lengths in bytes."""
    tokens = sorted(tokenizer.mergeable_ranks, key=lambda token: (-len(token), token))[:n]
    return [f"{show(token)}, {count(len(token), 'byte')}" for token in tokens]


def show(token: bytes, most_chars: int = 60) -> str:
    """A token as a quoted string, shortened; bytes that are not UTF-8 by themselves as \\xNN."""
    text = token.decode("utf-8", "backslashreplace")
    for period in range(1, 5):
        times, rest = divmod(len(text), period)
        if times >= 4 and not rest and text == text[:period] * times:
            return f"{text[:period]!r} x {times}"
    quoted = repr(text)
    return quoted if len(quoted) <= most_chars else f"{quoted[: most_chars - 4]}...{quoted[-1]}"


def labelled(label: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Rows of which only the first has the label."""
    return [("" if i else label, line) for i, line in enumerate(lines)]
