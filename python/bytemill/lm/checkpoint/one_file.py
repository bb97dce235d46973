"""Saving and loading: one file for a model and its optimizer (CS336, 5.2); for runs see
`CheckpointStore`, for their models `load_model`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO, Final

import torch

from bytemill import files
from bytemill.lm.checkpoint import state
from bytemill.lm.checkpoint.loading import (
    TOKENIZER_FOLDER,
    LoadedModel,
    find_checkpoint,
    load_model,
)
from bytemill.lm.checkpoint.state import StrPath
from bytemill.lm.checkpoint.store import Checkpoint, CheckpointStore

__all__ = [
    "TOKENIZER_FOLDER",
    "Checkpoint",
    "CheckpointStore",
    "LoadedModel",
    "find_checkpoint",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
]

FORMAT: Final = "bytemill-checkpoint-file"


def save_checkpoint(
    model: torch.nn.Module,
    optimizer: state.Optimizers,
    iteration: int,
    out: StrPath | BinaryIO,
) -> None:
    """Writes one file with all that is needed to go on training: a safetensors file.

    Args:
        model: Any module.
        optimizer: One optimizer, or several.
        iteration: How many steps have been made.
        out: A path, which is replaced in one step, or a file opened for writing bytes.

    Raises:
        OSError: If it cannot be written.
        TypeError: If the optimizer's state holds what safetensors and JSON cannot.
        NonFiniteStateError: Weights or optimizer hold NaN or infinity (a ValueError); what was at
            the path stays there.
    """
    inner = state.unwrapped(model)
    tensors: state.Tensors = {}
    data = state.pack_optimizers(optimizer, tensors)
    state.check_finite("the weights", dict(inner.named_parameters()))
    state.check_finite("the optimizer's state", tensors)
    tensors |= {f"model.{k}": v for k, v in inner.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "version": str(state.VERSION),
        "iteration": str(int(iteration)),
        "optimizer": state.to_json(data),
    }
    content = state.to_bytes(tensors, metadata)
    if isinstance(out, (str, os.PathLike)):
        files.write_bytes(out, content)
    else:
        out.write(content)


def load_checkpoint(
    src: StrPath | BinaryIO, model: torch.nn.Module, optimizer: state.Optimizers
) -> int:
    """Reads what `save_checkpoint` wrote into a model and its optimizer: both, or neither.

    Args:
        src: A path, or a file opened for reading bytes.
        model: A module with the same parameters.
        optimizer: Made as the one that was saved.

    Returns:
        The iteration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, of another format, or of another model.
    """
    if isinstance(src, (str, os.PathLike)):
        source, content = os.fspath(src), Path(src).read_bytes()
    else:
        source, content = str(getattr(src, "name", "the file")), src.read()
    tensors, metadata = state.from_bytes(content, source)
    state.check_format(source, metadata.get("format"), metadata.get("version"), FORMAT)
    weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
    try:
        iteration = int(metadata["iteration"])
        state.check_weights(model, weights)
        state.unpack_optimizers(optimizer, json.loads(metadata["optimizer"]), tensors)
        state.load_weights(model, weights)
        return iteration
    except (KeyError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None
