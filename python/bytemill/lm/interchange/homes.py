"""The architectures that models can be exported to and imported from."""

from __future__ import annotations

from typing import Final

from bytemill.lm.interchange.architecture import Architecture
from bytemill.lm.interchange.gpt2 import GPT2
from bytemill.lm.interchange.llama import Llama
from bytemill.lm.interchange.nanochat import NanoChat
from bytemill.lm.model.config import ModelConfig

ARCHITECTURES: Final[tuple[Architecture, ...]] = (Llama(), NanoChat(), GPT2())


def home_of(config: ModelConfig) -> Architecture:
    """The architecture that a model is of.

    Raises:
        ValueError: It is of none; the message says what each does not have.
    """
    misfits = {each.name: each.misfits(config) for each in ARCHITECTURES}
    for each in ARCHITECTURES:
        if not misfits[each.name]:
            return each
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    raise ValueError(
        f"no architecture of transformers computes what this model does; the nearest is {nearest}, "
        f"but {', '.join(misfits[nearest])}"
    )


def home_by_type(model_type: object, source: str) -> Architecture:
    """The architecture that a config.json names.

    Raises:
        ValueError: It is not one of those that are known here.
    """
    for each in ARCHITECTURES:
        if each.model_type == model_type:
            return each
    known = ", ".join(each.model_type for each in ARCHITECTURES)
    raise ValueError(
        f"{source}: model_type is {model_type!r}; bytemill takes in models of the types {known}"
    )
