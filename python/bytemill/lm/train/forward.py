"""What a run computes with its model: losses, validations, samples."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.validation import Batches, Validation, validate
from bytemill.lm.generate.text import stream_text
from bytemill.lm.model.documents import Documents, within
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.train.config import RunConfig
from bytemill.lm.train.steps.average import Average
from bytemill.lm.train.steps.world import ALONE, World

if TYPE_CHECKING:
    from bytemill import Tokenizer

Rows: TypeAlias = npt.NDArray[np.int64]


class Read(Protocol):
    """What a run reads, as far as its model's tokens go."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """None where ids have none."""
        ...

    @property
    def first(self) -> int:
        """The id that begins documents, and samples to which no prompt is given."""
        ...

    def token_bytes(self, vocab_size: int) -> Tensor | None:
        """Bytes of each id, (V,) int64; None without a tokenizer."""
        ...


class Forward:
    """Calls a model as its run's configuration says.

    Args:
        model: The model.
        data: What it is trained on.
        run: How it is called.
        device: Where it computes.
        dtype: What it computes in.
        average: Of the weights: what is validated and writes; None for the weights themselves.
        world: The ranks that train together: each validates a part, and one writes.

    Raises:
        ValueError: Samples or the documents' mask need a tokenizer, and there is none.
    """

    def __init__(
        self,
        model: Transformer,
        data: Read,
        run: RunConfig,
        device: torch.device,
        dtype: torch.dtype,
        average: Average | None,
        world: World = ALONE,
    ) -> None:
        self._model, self._data, self._settings = model, data, run
        self._device, self._dtype, self._average = device, dtype, average
        self._world = world
        self._sizes = data.token_bytes(model.config.vocab_size)
        self._begin: int | None = None
        if run.sample_every and data.tokenizer is None:
            raise ValueError(
                f"sample_every={run.sample_every}: samples need a tokenizer; give one, or 0"
            )
        if run.document_mask:
            if data.tokenizer is None or not data.tokenizer.special_tokens:
                raise ValueError(
                    "document_mask=True: it needs a tokenizer with a special token, by which "
                    "documents begin; give one, or leave the mask out"
                )
            self._begin = data.first

    def loss_sum(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The summed loss of a batch, (B, T) each, with a gradient."""
        with runtime.autocast(self._device, self._dtype), self.masked(ids):
            return self._model.loss(ids, targets, reduction="sum")

    def masked(self, ids: Tensor) -> AbstractContextManager[None]:
        """The context in which attention to these rows is within documents, if that is wanted."""
        if self._begin is None:
            return nullcontext()
        return within(Documents(ids == self._begin))

    def validate(self, batches: Batches, rows: int) -> Validation:
        """How well the model, or its average, predicts some batches."""
        self._model.eval()
        with self._averaged():
            found = validate(
                cast("Transformer", _Masked(self._model, self)),
                [self._share(x, y) for x, y in batches],
                self._sizes,
                device=self._device,
                computing=lambda: runtime.autocast(self._device, self._dtype),
                rows=rows,
                total=self._world.total,
            )
        self._model.train()
        return found

    def _share(self, x: Rows, y: Rows) -> tuple[Rows, Rows]:
        """This rank's rows, as many as the others': some may be filled up with one that does not
        count, as ranks that share weights must make the same passes."""
        rank, size = self._world.rank, self._world.size
        missing = -len(x) % size
        if missing:
            x = np.concatenate([x, np.zeros_like(x[:1]).repeat(missing, 0)])
            y = np.concatenate([y, np.full_like(y[:1], IGNORED).repeat(missing, 0)])
        return x[rank::size], y[rank::size]

    def sample(self) -> str:
        """What the model writes, or its average, and what it was given to begin with."""
        tokenizer, run = self._data.tokenizer, self._settings
        if tokenizer is None or not self._world.leads:  # without a tokenizer: refused above
            return ""
        self._model.eval()
        with self._averaged():
            text = "".join(
                stream_text(
                    self._model,
                    tokenizer,
                    self._prompt(tokenizer, run.sample_prompt),
                    max_new_tokens=run.sample_tokens,
                    seed=run.seed,
                    overflow="slide",
                )
            )
        self._model.train()
        return run.sample_prompt + text

    def _prompt(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """What a sample is given to go on from."""
        return tokenizer.encode(text) or [self._data.first]

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.applied()


class _Masked:
    """A model whose vectors are made with the documents' mask."""

    def __init__(self, model: Transformer, forward: Forward) -> None:
        self._model, self._forward = model, forward
        self.loss_of = model.loss_of

    def hidden(self, ids: Tensor) -> Tensor:
        """As `Transformer.hidden`."""
        with self._forward.masked(ids):
            return self._model.hidden(ids)
