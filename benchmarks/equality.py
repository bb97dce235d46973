"""Did two libraries learn the same merges?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """The answer, in words, and whether it is a failure."""

    text: str
    ok: bool


def new_tokens(outcome: Mapping[str, Any]) -> tuple[list[Any], int]:
    """What was learnt, each token once, and how many repeats were dropped.

    Two pairs can join to the same bytes. bytemill then makes no second token; a peer may list the
    second merge too. Elements are pairs of hex strings, or hex strings where the library tells
    tokens only (`{"merges": ...}` or `{"tokens": ...}`).
    """
    seen = {f"{byte:02x}" for byte in range(256)}
    kept = []
    items = outcome.get("merges", outcome.get("tokens"))
    for item in items or []:
        joined = item if isinstance(item, str) else "".join(item)
        if joined not in seen:
            seen.add(joined)
            kept.append(item)
    given = len(items or [])
    n_bytes = 256 if "tokens" in outcome else 0
    return kept, max(0, given - n_bytes - len(kept))


def compare(reference: Mapping[str, Any], outcome: Mapping[str, Any]) -> Verdict:
    """A peer's merges against bytemill's under the same tie rule.

    A peer that counts repeats towards its vocabulary stops as many merges earlier.
    """
    ours, _ = new_tokens(reference)
    theirs, repeats = new_tokens(outcome)
    if theirs and isinstance(theirs[0], str):
        ours = ["".join(pair) for pair in ours]
    note = f", {repeats} repeats dropped" if repeats else ""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            return Verdict(f"equal up to {i} of {len(ours)}{note}", False)
    if len(theirs) > len(ours):
        # gigatoken goes on when no pair of the text is left.
        return Verdict(f"equal (all {len(ours)}), then {len(theirs) - len(ours)} more{note}", False)
    if len(theirs) < len(ours) - repeats:
        return Verdict(f"equal up to {len(theirs)} of {len(ours)}, then ends{note}", False)
    return Verdict(f"equal ({len(theirs)}{note})", True)
