"""Whether another tool's files give the logits that the model gives."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from bytemill.lm.checkpoint.state import read_file
from bytemill.lm.interchange import forward
from bytemill.lm.model.transformer import Transformer

TOLERANCE: Final = 1e-4
"""The most by which a logit may differ, times the largest of them if that is above 1."""
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
_MOST_TOKENS: Final = 64


def transformers_or_none(name: str) -> Any:
    """The package transformers, if it is installed and knows the class `name`."""
    try:
        library = importlib.import_module("transformers")
    except ImportError:
        return None
    return library if hasattr(library, name) else None


def compare(model: Transformer, folder: Path, name: str) -> str:
    """Computes logits from the files in a folder, and compares them with the model's.

    Args:
        model: On the CPU, in fp32, with the weights as they are in the file.
        folder: With config.json and model.safetensors.
        name: transformers' class, which computes them if it is installed; else they are computed
            from the formulas by `bytemill.lm.interchange.forward`.

    Returns:
        What was compared and how much they differ, in words.

    Raises:
        ValueError: They differ by more than rounding does.
    """
    ids = sample_ids(model.config.vocab_size, min(_MOST_TOKENS, model.config.context_length))
    with torch.inference_mode():
        ours = model(ids)
        library = transformers_or_none(name)
        if library is None:
            by = "the formulas (transformers is not installed, or does not know it)"
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tensors = read_file(folder / WEIGHTS)
            theirs = torch.stack([forward.logits(config, tensors, row) for row in ids])
        else:
            by = f"transformers {library.__version__}"
            theirs = _by_transformers(library, name, folder, ids)
    difference = float((ours.double() - theirs.double()).abs().max())
    largest = float(ours.abs().max())
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ValueError(
            f"the logits of {name} by {by} differ by {difference:.3g} from the model's, of which "
            f"the largest is {largest:.3g}: nothing was written; please report it"
        )
    return (
        f"logits of {ids.numel()} tokens by {by}: largest difference {difference:.1e}, largest "
        f"logit {largest:.3g}"
    )


def sample_ids(vocab_size: int, length: int) -> Tensor:
    """Two rows of ids (2, T), always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (2, length), generator=generator)


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Neither warnings nor a progress bar on stderr."""
    logging = library.utils.logging
    had_bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()


def _by_transformers(library: Any, name: str, folder: Path, ids: Tensor) -> Tensor:
    with _quiet(library):
        kind = getattr(library, name)
        model, report = kind.from_pretrained(
            folder, output_loading_info=True, local_files_only=True
        )
    wrong = [f"{what} {sorted(map(str, names))}" for what, names in report.items() if names]
    if wrong:
        raise ValueError(f"{name} does not read the weights: {'; '.join(wrong)}")
    logits: Tensor = model.eval().float()(ids).logits
    # Windows renames no folder with a file in it that is mapped into memory.
    del model
    gc.collect()
    return logits.float()
