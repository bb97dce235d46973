"""Finding a checkpoint and making its model, for evaluation and generation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from bytemill.lm.checkpoint.state import StrPath
from bytemill.lm.checkpoint.store import FOLDER, STATE_NAME, Checkpoint, CheckpointStore
from bytemill.lm.device.threads import wait_briefly

if TYPE_CHECKING:
    from bytemill import Tokenizer
    from bytemill.lm.model.config import ModelConfig
    from bytemill.lm.model.transformer import Transformer

TOKENIZER_FOLDER: Final = "tokenizer"


@dataclass(frozen=True)
class LoadedModel:
    """A model from a checkpoint, ready to be used."""

    model: Transformer
    config: ModelConfig
    tokenizer: Tokenizer | None
    """The one saved with the run; None if there is none."""
    step: int
    path: Path
    """The checkpoint's folder."""


def find_checkpoint(path: StrPath, which: str | int = "best") -> Checkpoint:
    """The checkpoint in a folder, or the one of a run that is asked for.

    Args:
        path: A run's folder, that of its checkpoints, or one checkpoint's.
        which: "best" (by validation loss), "last", or a step; decides nothing for a checkpoint's
            folder.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is damaged; or `which` is none of these.
    """
    folder = Path(path)
    if which not in ("best", "last") and (not isinstance(which, int) or isinstance(which, bool)):
        raise ValueError(f'which={which!r}: it must be "best", "last" or a step')
    # What "." and a bare name stand for shows in the whole path only.
    whole = folder.resolve()
    if (folder / STATE_NAME).is_file() or (whole.parent.name == FOLDER and whole.is_dir()):
        return Checkpoint.read(folder)
    store = CheckpointStore(whole.parent if whole.name == FOLDER else folder)
    steps = store.steps()
    if not steps:
        if folder.is_file():
            raise ValueError(
                f"{folder}: this is a file, not the folder of a run or a checkpoint; "
                "for a file of save_checkpoint use load_checkpoint"
            )
        raise FileNotFoundError(
            f"{folder}: no checkpoint is there; give a run's folder after its first save, or a "
            f"folder like RUN/{FOLDER}/step-00001000"
        )
    if isinstance(which, int):
        if which not in steps:
            there = ", ".join(map(str, steps))
            raise FileNotFoundError(f"{folder}: no checkpoint of step {which}; there are {there}")
        return Checkpoint.read(store.path(which))
    found = store.best() if which == "best" else store.last()
    return found or Checkpoint.read(store.path(steps[-1]))


def load_model(
    path: StrPath,
    *,
    which: str | int = "best",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """Loads a model for evaluation or generation: in eval mode, its parameters without gradients.

    Args:
        path: A run's folder, or one checkpoint's.
        which: Of a run: "best" (by validation loss), "last", or a step.
        device: Where to put the weights.
        dtype: Of the weights.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The checkpoint is truncated, damaged or foreign, or its tokenizer is.
    """
    from bytemill.lm.model.config import ModelConfig
    from bytemill.lm.model.transformer import Transformer

    wait_briefly()
    checkpoint = find_checkpoint(path, which)
    config = ModelConfig.from_dict(checkpoint.model_config)
    model = Transformer(config)
    checkpoint.load_weights(model)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    found = tokenizer_beside(checkpoint)
    tokenizer = None if found is None else found[0]
    return LoadedModel(model, config, tokenizer, checkpoint.step, checkpoint.path)


def tokenizer_beside(checkpoint: Checkpoint) -> tuple[Tokenizer, Path] | None:
    """The tokenizer that lies with a checkpoint or in its run's folder, and where; None if there is
    none.

    Raises:
        ValueError: It is damaged, or not the one that the checkpoint says the model has.
    """
    from bytemill import Tokenizer

    for folder in (checkpoint.path, checkpoint.path.resolve().parent.parent):
        path = folder / TOKENIZER_FOLDER
        if not path.is_dir():
            continue
        tokenizer = Tokenizer.load(path)
        trained_with = checkpoint.extra.get("tokenizer")
        if trained_with not in (None, tokenizer.fingerprint):
            raise ValueError(
                f"{path}: its fingerprint is {tokenizer.fingerprint}, but the model was trained "
                f"with the tokenizer of {trained_with}; put that one back"
            )
        return tokenizer, path
    return None
