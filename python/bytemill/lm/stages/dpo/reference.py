"""What the model at the beginning makes of all pairs: computed once, and kept with the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from bytemill.lm.checkpoint.state import from_bytes, write_file
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.stages.dpo.objective import Computing, answer_log_probs
from bytemill.lm.stages.dpo.pairs import EncodedPair
from bytemill.lm.stages.dpo.source import tensors_of
from bytemill.lm.train.steps.world import World

FILE: Final = "reference_log_probs.safetensors"
"""In a run's folder."""
_NAME: Final = "log_probs"


def reference_of(
    model: Transformer,
    pairs: Sequence[EncodedPair],
    rows: int,
    device: torch.device,
    world: World,
    computing: Computing,
    on_pairs: Callable[[int], None] = lambda n: None,
) -> npt.NDArray[np.float32]:
    """log p of both answers of each pair, (N, 2), each rank computing a part.

    Args:
        model: With the weights at the beginning.
        pairs: All of them.
        rows: Pairs at a time.
        device: The model's.
        world: The ranks.
        computing: As for `answer_log_probs`.
        on_pairs: Told how many of this rank's are done.
    """
    found = torch.zeros(len(pairs), 2, dtype=torch.float64)
    own = range(world.rank, len(pairs), world.size)
    was_training = model.training
    model.eval()
    for first in range(0, len(own), rows):
        which = list(own[first : first + rows])
        batch = tensors_of([pairs[i] for i in which], np.zeros((len(which), 2), np.float32), device)
        with torch.no_grad():
            found[which] = answer_log_probs(model, batch, computing).cpu().double()
        on_pairs(first + len(which))
    model.train(was_training)
    return np.asarray(world.total(found).numpy(), np.float32)


def keep(folder: Path, reference: npt.NDArray[np.float32], content: str) -> None:
    """Writes them into a run's folder, with what stands for the pairs that they are of."""
    write_file(folder / FILE, {_NAME: torch.from_numpy(reference)}, {"content": content})


def kept(folder: Path, content: str) -> npt.NDArray[np.float32]:
    """What `keep` wrote.

    Raises:
        ValueError: It is not there, damaged, or of other pairs.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(
            f"{path}: the file is missing, without which the run cannot go on: restore it from a "
            "copy, or begin a new run"
        )
    tensors, metadata = from_bytes(path.read_bytes(), str(path))
    if metadata.get("content") != content or _NAME not in tensors:
        raise ValueError(
            f"{path}: it is of other pairs; resume with those that the run was begun with"
        )
    return np.asarray(tensors[_NAME].numpy(), np.float32)
