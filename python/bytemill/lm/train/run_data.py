"""What a run reads: training and validation tokens, and the tokenizer they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from bytemill import Tokenizer
from bytemill.data import expand_inputs
from bytemill.formats import source
from bytemill.lm.batches.loaders import PackedLoader, WindowLoader, fixed_batches
from bytemill.lm.batches.stream.corpus import (
    TextTokens,
    is_text,
    open_text,
    text_tokens,
    validation_files,
    weighed,
)
from bytemill.lm.batches.stream.documents import FileDocuments
from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.batches.stream.rows import LoaderRows, Rows, StreamRows
from bytemill.lm.batches.tokens import Tokens, open_tokens
from bytemill.lm.batches.vocabulary import check_vocabulary
from bytemill.lm.evaluate.measures import token_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bytemill.lm.train.config import DataConfig

_SHOWN: Final = 1 << 16
"""Ids of the first of several sources, that stand for all."""


@dataclass(frozen=True)
class Part:
    """One of the sources that a run trains on."""

    weight: float
    """Its share of the rows, beside the others' weights."""
    tokens: Tokens
    documents: FileDocuments | None
    """Where the text comes from, if it is text."""


@dataclass(frozen=True)
class RunData:
    """Tokens and tokenizer of a run, checked against each other."""

    train: Tokens
    """Of text that is encoded on the way, or of several sources, the first ones."""
    val: Tokens | None
    tokenizer: Tokenizer | None
    n_vocab: int
    """Ids are below this."""
    parts: tuple[Part, ...]
    bos: str | None = None
    """The special token that begins documents, where it is given."""

    @classmethod
    def open(cls, config: DataConfig, kept: Path | None = None) -> RunData:
        """Opens what the configuration names.

        Args:
            config: What to read.
            kept: Where a run keeps its tokenizer; taken if there is one. Another is refused.

        Raises:
            FileNotFoundError: Data or tokenizer are not there.
            ValueError: They are damaged or empty, or do not go together.
        """
        own = Tokenizer.load(kept) if kept is not None and kept.is_dir() else None
        tokenizer = own
        if config.tokenizer is not None:
            tokenizer = Tokenizer.from_vocabulary(source.read(config.tokenizer))
            if own is not None and own.fingerprint != tokenizer.fingerprint:
                raise ValueError(
                    f"tokenizer={config.tokenizer!r}: it is not the one that this run began with, "
                    f"which is in {kept}; leave it out to use that one, or choose another folder"
                )
        named = weighed(config.path)
        parts = tuple(_open_part(weight, path, tokenizer, config) for weight, path in named)
        train = parts[0].tokens
        fingerprints = {part.tokens.fingerprint for part in parts} - {None}
        if len(fingerprints) > 1:
            raise ValueError(f"data={config.path!r}: the sources are of several tokenizers")
        val = _open_val(config, named[0][1], tokenizer, train.fingerprint)
        if tokenizer is not None:
            n_vocab = tokenizer.n_vocab
        else:
            n_vocab = max(part.tokens.largest_id() for part in parts) + 1
        if len(parts) > 1:
            train = TextTokens(
                config.path,
                train[: min(len(train), _SHOWN)],
                train.fingerprint,
                about=sum(len(part.tokens) for part in parts),
                n_vocab=n_vocab,
                origin=" ".join(f"{part.weight:g} {part.tokens.content}" for part in parts),
            )
        return cls(train, val, tokenizer, n_vocab, parts, config.bos)

    def check(self, vocab_size: int) -> None:
        """Raises ValueError if ids could be outside a model's vocabulary."""
        if self.tokenizer is not None and self.tokenizer.n_vocab > vocab_size:
            raise ValueError(
                f"vocab_size={vocab_size}: the tokenizer has {self.tokenizer.n_vocab} tokens; "
                f"leave vocab_size out, or give {self.tokenizer.n_vocab} or more"
            )
        for tokens in (*(part.tokens for part in self.parts), self.val):
            if tokens is not None:
                check_vocabulary(tokens, vocab_size)

    def loader(
        self,
        config: DataConfig,
        batch_size: int,
        context_length: int,
        seed: int,
        device: torch.device,
    ) -> WindowLoader | PackedLoader | StreamLoader:
        """The loader that the configuration asks for.

        Raises:
            ValueError: The data is shorter than a window; no document begins with `bos`; or this
                loader is not for such data.
        """
        if len(self.parts) == 1 and self.parts[0].documents is None:
            return self._loader(self.parts[0], config, batch_size, context_length, seed, device)
        rows: list[Rows] = []
        for i, part in enumerate(self.parts):
            if part.documents is None or self.tokenizer is None:
                # Sources of one seed would be drawn from at the same places.
                sizes = 1, context_length, seed + i
                rows.append(LoaderRows(self._loader(part, config, *sizes, torch.device("cpu"))))
                continue
            if config.loader == "windows" and len(self.parts) == 1:
                raise ValueError(
                    'loader="windows": text that is encoded on the way is read in its order; use '
                    '"documents" or "best-fit", or make shards with bytemill tok-encode'
                )
            rows.append(
                StreamRows(
                    part.documents,
                    self.tokenizer,
                    context_length,
                    bos_id=bos_id(self.tokenizer, config.bos),
                    packing="best-fit" if config.loader == "best-fit" else "documents",
                )
            )
        weights = [part.weight for part in self.parts]
        return StreamLoader(rows, batch_size, weights=weights, seed=seed, device=device)

    def _loader(
        self,
        part: Part,
        config: DataConfig,
        batch_size: int,
        context_length: int,
        seed: int,
        device: torch.device,
    ) -> WindowLoader | PackedLoader:
        """Of ids on disk."""
        common: dict[str, Any] = {"seed": seed, "device": device}
        sizes = part.tokens, batch_size, context_length
        if config.loader == "best-fit" and len(self.parts) == 1:
            raise ValueError(
                f'loader="best-fit": it is for text, and {part.tokens.source} holds token ids; use '
                '"documents", which drops nothing'
            )
        if config.loader in ("auto", "windows"):
            return WindowLoader(*sizes, **common)
        return PackedLoader(*sizes, bos_id=bos_id(self.tokenizer, config.bos), **common)

    @property
    def first(self) -> int:
        """What samples begin with if no prompt is given: the token between documents, or the first
        id of the data if there is no such token."""
        special = self.tokenizer.special_tokens if self.tokenizer else {}
        return bos_id(self.tokenizer, self.bos) if special else int(self.train[:1][0])

    def val_batches(
        self, n_tokens: int, batch_size: int, context_length: int
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Every validation's batches, of `n_tokens` at most; none without validation tokens."""
        if self.val is None:
            return []
        return fixed_batches(self.val, n_tokens, batch_size, context_length)

    def token_bytes(self, vocab_size: int) -> torch.Tensor | None:
        """Bytes of each id, (V,) int64; None without a tokenizer."""
        if self.tokenizer is None:
            return None
        sizes = torch.zeros(vocab_size, dtype=torch.int64)
        own = token_bytes(self.tokenizer)
        sizes[: len(own)] = own
        return sizes


def bos_id(tokenizer: Tokenizer | None, bos: str | None) -> int:
    """The id that begins documents.

    Raises:
        ValueError: There is no such token, or no tokenizer to know it by.
    """
    if tokenizer is None:
        raise ValueError(
            'loader="documents" needs a tokenizer, to know the token that begins documents; '
            'give one, or use loader="windows"'
        )
    special = tokenizer.special_tokens
    names = [name for name in ("<|bos|>", "<|endoftext|>") if name in special]
    name = bos or (names[0] if names else next(iter(special), None))
    if name is None or name not in special:
        there = ", ".join(special) or "none"
        raise ValueError(f"bos={name!r}: the tokenizer's special tokens are {there}")
    return special[name]


def _open_part(weight: float, path: str, tokenizer: Tokenizer | None, config: DataConfig) -> Part:
    if is_text(path):
        if tokenizer is None:
            raise ValueError(
                f"tokenizer=None: {path} is text, which is encoded on the way; give a tokenizer, "
                "or make shards with bytemill tok-encode"
            )
        held_out = [*validation_files(path), *_own_validation(config)]
        documents, tokens = open_text(
            path,
            tokenizer,
            bos_id(tokenizer, config.bos),
            text_column=config.text_column,
            leave_out=held_out,
        )
        return Part(weight, tokens, documents)
    train = open_tokens(path, split="train", tokenizer=tokenizer)
    if not len(train):
        raise ValueError(
            f"{train.source}: it has no tokens; encode some text, or lower the share of "
            "documents for validation"
        )
    return Part(weight, train, None)


def _own_validation(config: DataConfig) -> list[Path]:
    """The files of text that are named for validation."""
    if config.val_path is None or not is_text(config.val_path):
        return []
    return [file.path for file in expand_inputs(config.val_path)]


def _open_val(
    config: DataConfig, path: str, tokenizer: Tokenizer | None, fingerprint: str | None
) -> Tokens | None:
    """Validation tokens: those that are named, or else the first source's own."""
    val: Tokens | None = None
    texts = _own_validation(config)
    if config.val_path is None and is_text(path):
        texts = validation_files(path)
    if texts and tokenizer is None:
        raise ValueError(f"tokenizer=None: {texts[0]} is text; give a tokenizer")
    if texts and tokenizer is not None:
        val = text_tokens(
            texts,
            tokenizer,
            bos_id(tokenizer, config.bos),
            text_column=config.text_column,
        )
    elif config.val_path is not None:
        is_file = not Path(config.val_path).is_dir()
        val = open_tokens(config.val_path, split="val", tokenizer=tokenizer or fingerprint)
        if not is_file and not len(val):
            val = open_tokens(config.val_path, split="train", tokenizer=tokenizer or fingerprint)
    elif Path(path).is_dir() and not is_text(path):
        val = open_tokens(path, split="val", tokenizer=tokenizer)
    return None if val is None or len(val) < 2 else val
