"""`Shape`: what a tokenizer.json says beyond tokens, special tokens and a pattern."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MARK: Final = "\u2581"
"""What stands for a space in SentencePiece's tokens."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for before the text is cut into pretokens, as `tokenizers` does."""

    content: str
    single_word: bool = False
    """It is not found beside a letter, digit or the like."""
    lstrip: bool = False
    """White space before it belongs to it."""
    rstrip: bool = False
    """White space after it belongs to it."""
    normalized: bool = False
    """It is looked for in the normalized text, itself normalized."""
    special: bool = True
    """It becomes its id only where special tokens are allowed; another one always."""


@dataclass(frozen=True)
class Shape:
    """What a tokenizer.json says beyond tokens, special tokens and a pattern. Immutable.

    Args:
        document: The file without the model's ordinary tokens and merges, to be written again.
        added: The added tokens, whose ids are among the vocabulary's special tokens.
        normalizers: Steps in the Rust core's terms, each a dict with a "type".
        prefix_space: Whether each stretch between added tokens is given a space to begin with.
        prefix_first: Whether only one with which the text begins is.
        passes: Whether added tokens are looked for in two passes, each in its own manner.
        n_merged: If ranks are not ids: the tokens are given by rank, and merges make the first
            `n_merged` of those longer than a byte; None where ranks are ids.
        whole_tokens: Whether a pretoken that is a token is that token though no merge makes it.
        of_characters: Whether merging begins with those characters that are tokens, given first.
        marked: Whether the file has U+2581 for a space in its tokens.
        spellings: Tokens that no text has: what they are decoded to, and their ids.
        drops_space: Whether a space with which a decoded text begins is dropped.
        before: Ids that the post-processor puts before a text.
        after: Ids that it puts after it.
    """

    document: Mapping[str, Any]
    added: tuple[AddedToken, ...] = ()
    normalizers: tuple[Mapping[str, Any], ...] = ()
    prefix_space: bool = False
    prefix_first: bool = False
    passes: bool = False
    n_merged: int | None = None
    whole_tokens: bool = True
    of_characters: bool = False
    marked: bool = False
    spellings: tuple[tuple[str, int], ...] = ()
    drops_space: bool = False
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    core: str | None = field(init=False)
    """What the Rust core is told; None if it needs to know nothing."""

    def __post_init__(self) -> None:
        tells = (
            bool(self.normalizers),
            self.prefix_space,
            self.prefix_first,
            self.passes,
            self.n_merged is not None,
            not self.whole_tokens,
            any(not token.special for token in self.added),
            bool(self.spellings),
        )
        core = {
            "normalizers": list(self.normalizers),
            "prefix_space": self.prefix_space,
            "passes": self.passes,
            "n_merged": self.n_merged,
            "whole_tokens": self.whole_tokens,
            "added": [vars(token) for token in self.added],
        }
        if self.of_characters:
            core |= {
                "prefix_first": self.prefix_first,
                "of_characters": True,
                "drops_space": self.drops_space,
            }
        if self.of_characters or self.spellings:
            core["spellings"] = [list(spelling) for spelling in self.spellings]
        object.__setattr__(self, "core", json.dumps(core, sort_keys=True) if any(tells) else None)

    @property
    def refused(self) -> frozenset[bytes]:
        """The single bytes that text must not have."""
        steps = (step for step in self.normalizers if step["type"] == "Refuse")
        return frozenset(bytes([byte]) for step in steps for byte in step["bytes"])

    @property
    def decides(self) -> str:
        """All of it that decides ids; "" if nothing does."""
        if self.core is None and not self.before and not self.after:
            return ""
        return json.dumps([self.core, self.before, self.after])

    def spelled(self, text: str) -> bytes:
        """The bytes of an ordinary token that is written so in the file."""
        return (text.replace(MARK, " ") if self.marked else text).encode()

    def to_state(self) -> dict[str, Any]:
        """All of it in plain data."""
        return {
            "document": dict(self.document),
            "added": [vars(token) for token in self.added],
            "normalizers": [dict(step) for step in self.normalizers],
            "prefix_space": self.prefix_space,
            "prefix_first": self.prefix_first,
            "passes": self.passes,
            "n_merged": self.n_merged,
            "whole_tokens": self.whole_tokens,
            "of_characters": self.of_characters,
            "marked": self.marked,
            "spellings": [list(spelling) for spelling in self.spellings],
            "drops_space": self.drops_space,
            "before": list(self.before),
            "after": list(self.after),
        }

    @classmethod
    def from_state(cls, state: Any) -> "Shape":
        """What `to_state` gave.

        Raises:
            ValueError: For anything else.
        """
        try:
            return cls(
                document=dict(state["document"]),
                added=tuple(AddedToken(**token) for token in state["added"]),
                normalizers=tuple(_objects(state["normalizers"])),
                prefix_space=bool(state["prefix_space"]),
                prefix_first=bool(state["prefix_first"]),
                passes=bool(state["passes"]),
                n_merged=None if state["n_merged"] is None else int(state["n_merged"]),
                whole_tokens=bool(state["whole_tokens"]),
                of_characters=bool(state["of_characters"]),
                marked=bool(state["marked"]),
                spellings=tuple((str(text), int(id_)) for text, id_ in state["spellings"]),
                drops_space=bool(state["drops_space"]),
                before=tuple(int(id_) for id_ in state["before"]),
                after=tuple(int(id_) for id_ in state["after"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the tokenizer's shape is damaged: {error!r}") from error


def _objects(items: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(item) for item in items]
