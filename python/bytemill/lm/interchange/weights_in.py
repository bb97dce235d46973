"""The tensors of a folder with safetensors files, and a model of ours made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bytemill import files
from bytemill.lm.checkpoint.state import read_file
from bytemill.lm.interchange.architecture import Architecture
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.transformer import Transformer

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_PICKLES: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SHOWN: Final = 8


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors, or of the files that model.safetensors.index.json names.

    Raises:
        FileNotFoundError: None of them is there.
        ValueError: A file is damaged, or does not have what the index says.
    """
    if (folder / SINGLE).is_file():
        return read_file(folder / SINGLE)
    index = folder / INDEX
    if not index.is_file():
        found = next((name for name in _PICKLES if (folder / name).is_file()), None)
        why = (
            f"; {found} is a pickle, which can run code and is not read: save the model as "
            "safetensors (save_pretrained does)"
            if found
            else ""
        )
        raise FileNotFoundError(f"{folder}: neither {SINGLE} nor {INDEX} is there{why}")
    places = files.read_json_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
        raise ValueError(f"{index}: weight_map is not an object of file names")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise ValueError(f"{index}: it names {name!r}, which is not a file of its folder")
        tensors |= read_file(folder / name)
    if missing := sorted(places.keys() - tensors.keys()):
        raise ValueError(f"{folder}: {listed(missing)} of {INDEX} are in none of its files")
    return tensors


def model_from(
    home: Architecture, config: ModelConfig, tensors: Mapping[str, Tensor], source: str
) -> Transformer:
    """A model in fp32, of another tool's tensors.

    Raises:
        ValueError: Tensors are missing, left over, of another shape, or hold NaN or infinity; the
            message names them.
    """
    entries = {each.theirs: each for each in home.entries(config)}
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith(home.ignored)}
    given = home.renamed(given)
    if config.tie_embeddings:
        given = _without_tied_head(given, source)
    missing = [name for name in entries if name not in given]
    extra = sorted(given.keys() - entries.keys())
    wrong = [f"{listed(missing)} missing"] if missing else []
    wrong += [f"{listed(extra)} without a place"] if extra else []
    if wrong:
        raise ValueError(
            f"{source}: the tensors are not those of a {home.name}: {'; '.join(wrong)}"
        )
    model = Transformer(config, device="meta").to_empty(device="cpu").float()
    own = model.state_dict()
    made: dict[str, Tensor] = {}
    for name, entry in entries.items():
        expected = tuple(entry.out([own[part] for part in entry.ours]).shape)
        tensor = given[name]
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"{source}: {name} has shape {tuple(tensor.shape)}, and by config.json it must be "
                f"{expected}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{source}: {name} holds NaN or infinity")
        made |= zip(entry.ours, entry.back(tensor.float()), strict=True)
    model.load_state_dict(made)
    return model


def listed(names: list[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _without_tied_head(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Without a head that is a copy of the embedding, as some files have it."""
    head = tensors.get("lm_head.weight")
    rest = {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    if head is not None and not any(
        t.shape == head.shape and torch.equal(t, head) for t in rest.values()
    ):
        raise ValueError(
            f"{source}: lm_head.weight is not the embedding, though config.json says that they are "
            "one (tie_word_embeddings)"
        )
    return rest
