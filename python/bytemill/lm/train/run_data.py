"""What a run reads: training and validation tokens, and the tokenizer they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bytemill import Tokenizer
from bytemill.data import Manifest
from bytemill.lm.batches.loaders import PackedLoader, WindowLoader, fixed_batches
from bytemill.lm.batches.tokens import Tokens, open_tokens
from bytemill.lm.batches.vocabulary import check_vocabulary
from bytemill.lm.evaluate.measures import token_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bytemill.lm.train.config import DataConfig


@dataclass(frozen=True)
class RunData:
    """Tokens and tokenizer of a run, checked against each other."""

    train: Tokens
    val: Tokens | None
    tokenizer: Tokenizer | None
    n_vocab: int
    """Ids are below this."""

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
            tokenizer = Tokenizer.load(config.tokenizer)
            if own is not None and own.fingerprint != tokenizer.fingerprint:
                raise ValueError(
                    f"tokenizer={config.tokenizer!r}: it is not the one that this run began with, "
                    f"which is in {kept}; leave it out to use that one, or choose another folder"
                )
        train = open_tokens(config.path, split="train", tokenizer=tokenizer)
        if not len(train):
            raise ValueError(
                f"{train.source}: it has no tokens; encode some text, or lower the share of "
                "documents for validation"
            )
        val = None
        if config.val_path is not None:
            is_file = not Path(config.val_path).is_dir()
            fingerprint = tokenizer or train.fingerprint
            val = open_tokens(config.val_path, split="val", tokenizer=fingerprint)
            if not is_file and not len(val):
                val = open_tokens(config.val_path, split="train", tokenizer=fingerprint)
        elif Path(config.path).is_dir():
            val = open_tokens(config.path, split="val", tokenizer=tokenizer)
        if val is not None and len(val) < 2:
            val = None
        if tokenizer is not None:
            n_vocab = tokenizer.n_vocab
        elif Path(config.path).is_dir():
            n_vocab = Manifest.load(config.path).n_vocab
        else:
            n_vocab = train.largest_id() + 1
        return cls(train, val, tokenizer, n_vocab)

    def check(self, vocab_size: int) -> None:
        """Raises ValueError if ids could be outside a model's vocabulary."""
        if self.tokenizer is not None and self.tokenizer.n_vocab > vocab_size:
            raise ValueError(
                f"vocab_size={vocab_size}: the tokenizer has {self.tokenizer.n_vocab} tokens; "
                f"leave vocab_size out, or give {self.tokenizer.n_vocab} or more"
            )
        for tokens in (self.train, self.val):
            if tokens is not None:
                check_vocabulary(tokens, vocab_size)

    def check_resumed(self, fingerprint: str | None) -> None:
        """Raises ValueError if a run that began with a tokenizer goes on with another."""
        own = self.tokenizer.fingerprint if self.tokenizer else None
        if fingerprint is not None and own != fingerprint:
            raise ValueError(
                f"the run began with the tokenizer of fingerprint {fingerprint}, and this one's is "
                f"{own}; put that one back, or begin a new run in another folder"
            )

    def loader(
        self,
        config: DataConfig,
        batch_size: int,
        context_length: int,
        seed: int,
        device: torch.device,
    ) -> WindowLoader | PackedLoader:
        """The loader that the configuration asks for.

        Raises:
            ValueError: The data is shorter than a window; or no document begins with `bos`.
        """
        common: dict[str, Any] = {"seed": seed, "device": device}
        sizes = self.train, batch_size, context_length
        if config.loader == "windows":
            return WindowLoader(*sizes, **common)
        return PackedLoader(*sizes, bos_id=self._bos_id(config.bos), **common)

    def _bos_id(self, bos: str | None) -> int:
        if self.tokenizer is None:
            raise ValueError(
                'loader="documents" needs a tokenizer, to know the token that begins documents; '
                'give one, or use loader="windows"'
            )
        special = self.tokenizer.special_tokens
        names = [name for name in ("<|bos|>", "<|endoftext|>") if name in special]
        name = bos or (names[0] if names else next(iter(special), None))
        if name is None or name not in special:
            there = ", ".join(special) or "none"
            raise ValueError(f"bos={name!r}: the tokenizer's special tokens are {there}")
        return special[name]

    def first_id(self, config: DataConfig) -> int:
        """What samples begin with if no prompt is given: the token between documents, or the first
        id of the data if there is no such token."""
        special = self.tokenizer.special_tokens if self.tokenizer else {}
        return self._bos_id(config.bos) if special else int(self.train[:1][0])

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
