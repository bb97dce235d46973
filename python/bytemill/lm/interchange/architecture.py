"""`Architecture`: a kind of model that other tools have too, and which of our configs are of it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from torch import Tensor

from bytemill.lm.interchange.entries import Entry
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.transformer import Transformer

# What only nanochat's models of 2026 and CS336's ablations have.
_PLAIN: Final[dict[str, Any]] = {
    "norm_position": "pre",
    "window": None,
    "qk_scale": 1.0,
    "value_embeddings": False,
    "resid_scalars": False,
    "x0_scalars": False,
    "smear": False,
    "backout": False,
}


class Architecture(ABC):
    """One of transformers' classes, by way of its names and its configuration."""

    name: ClassVar[str]
    """transformers' class."""
    model_type: ClassVar[str]
    """What its config.json says."""
    variant: ClassVar[Mapping[str, Any]]
    """The fields of `ModelConfig` that it decides, beside those that are plain in all."""
    start: ClassVar[Mapping[str, Any]] = {"zero_init_output": False}
    """Fields that decide the initial weights alone, for models that are taken in."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of tensors that hold nothing that was learned."""

    @classmethod
    def fixed(cls) -> dict[str, Any]:
        """All fields that it decides."""
        return {**_PLAIN, **cls.variant}

    @classmethod
    def misfits(cls, config: ModelConfig) -> list[str]:
        """What of a model it does not have, in words."""
        return [
            f"{name} is {_shown(getattr(config, name))} and not {_shown(value)}"
            for name, value in cls.fixed().items()
            if getattr(config, name) != value
        ]

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a file under the names that `entries` has."""
        return dict(tensors)

    def shortened(self, model: Transformer, length: int) -> Transformer:
        """The same weights in a model with a shorter context."""
        shorter = Transformer(dataclasses.replace(model.config, context_length=length))
        shorter.load_state_dict(model.state_dict())
        return shorter

    @classmethod
    def config_from(cls, theirs: Fields, **sizes: Any) -> ModelConfig:
        """A config from sizes, and what was asked of `theirs` being all that decides."""
        theirs.check_done()
        defaults = {
            field.name: field.default
            for field in dataclasses.fields(ModelConfig)
            if field.default is not dataclasses.MISSING
        }
        return ModelConfig(**{**defaults, **cls.fixed(), **cls.start, **sizes})

    @abstractmethod
    def config_out(self, config: ModelConfig) -> dict[str, Any]:
        """What decides, for config.json."""

    @abstractmethod
    def config_in(self, theirs: Fields) -> ModelConfig:
        """The config of a config.json.

        Raises:
            ValueError: It has something that has no counterpart here; the message names it.
        """

    @abstractmethod
    def entries(self, config: ModelConfig) -> Iterator[Entry]:
        """All tensors."""


class Fields:
    """A config.json that is read field by field, so that what is wrong in it can be named."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values, self.source = values, source
        self._wrong: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or what transformers takes if it is not there; null is as if it were not."""
        value = self._values.get(name)
        return default if value is None else value

    def raw(self, name: str, default: Any) -> Any:
        """A field that may be null."""
        return self._values.get(name, default)

    def size(self, name: str) -> int:
        """A field that must be a whole number above 0."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{self.source}: {name} is {value!r}, not a whole number above 0")
        return value

    def expect(self, name: str, default: Any, *allowed: Any) -> None:
        """Notes a field that is none of what is `allowed`."""
        value = self.get(name, default)
        if value not in allowed:
            wanted = " or ".join(map(repr, allowed))
            self._wrong.append(f"{name} is {value!r}, and must be {wanted}")

    def rope_theta(self, default: float = 10_000.0) -> float:
        """The base of RoPE's frequencies, where they are not scaled."""
        rope = {**(self.get("rope_scaling") or {}), **(self.get("rope_parameters") or {})}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            self._wrong.append(f"rope_type is {kind!r}, and must be 'default'")
        share = rope.get("partial_rotary_factor", self.get("partial_rotary_factor", 1.0))
        if share != 1:
            self._wrong.append(f"partial_rotary_factor is {share!r}, and must be 1")
        theta = rope.get("rope_theta", self.get("rope_theta", default))
        if not isinstance(theta, (int, float)):
            raise ValueError(f"{self.source}: rope_theta is {theta!r}, not a number")
        return float(theta)

    def check_done(self) -> None:
        """Raises ValueError with all that was noted."""
        if self._wrong:
            raise ValueError(
                f"{self.source}: bytemill has no counterpart for it: {'; '.join(self._wrong)}"
            )


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
