"""`ModelSettings`: a preset, a depth, and each field of `ModelConfig` that is to be otherwise."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from bytemill.lm.model.config import MOST_LAYERS, ModelConfig, Preset, preset_fields
from bytemill.lm.settings import AUTO, LIMITS, check, option, word

WIDTH_PER_LAYER: Final = 64
DEFAULT_DEPTH: Final = 4
_WIDE: Final = 768
"""From this width on heads are of 128."""
_WHOLE_HEADS: Final = {"nanochat-2026": 128}
"""Presets whose heads are of one size at any depth, of which the width is the next multiple."""

_AUTO = Literal["auto"]


@dataclass(frozen=True)
class _Dial:
    """What the other fields are derived from."""

    preset: Preset = option(  # noqa: RUF009
        "gpt", help="the kind of model, which all of its variations follow from"
    )
    depth: int | _AUTO = option(  # noqa: RUF009
        AUTO,
        least=1,
        most=MOST_LAYERS,
        help="the dial: layers, and from them width, heads, batch, learning rates and horizon "
        "where these are not given",
        derived=f"n_layer, or {DEFAULT_DEPTH}",
    )

    def __post_init__(self) -> None:
        check(self)


_DERIVED: Final = {
    "vocab_size": "the data's",
    "d_model": f"{WIDTH_PER_LAYER} times the depth; nanochat-2026: the next multiple of 128",
    "n_layer": "the depth",
    "n_head": f"heads of 64, or of 128 from a width of {_WIDE} on and in nanochat-2026",
    "n_kv_head": "as many as n_head",
}
"""What is not the preset's."""


def _fields() -> list[tuple[str, Any, Any]]:
    """A field for each of `ModelConfig`, with its help and range, which can be left to "auto"."""
    kinds = typing.get_type_hints(ModelConfig)
    result: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(ModelConfig):
        own = field.metadata
        limits: dict[str, Any] = {name: own.get(name) for name in LIMITS}
        text = own["help"]
        if field.name == "context_length":
            text = "tokens in a row, T"
            result.append((field.name, int, option(512, help=text, least=1)))
            continue
        usual = "the preset's" if field.default is dataclasses.MISSING else word(field.default)
        derived = _DERIVED.get(field.name, usual)
        if field.name in preset_fields("nanochat-2026") and usual != "the preset's":
            derived = f"{usual}, nanochat-2026: {word(preset_fields('nanochat-2026')[field.name])}"
        if field.name == "window":
            derived = "none, nanochat-2026: a quarter of the context, in whole blocks of 128"
        setting = option(AUTO, help=text, derived=derived, **limits)
        result.append((field.name, kinds[field.name] | _AUTO, setting))
    return result


if TYPE_CHECKING:

    class ModelSettings(_Dial):
        """See below."""

        def __init__(self, **fields: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    ModelSettings = dataclasses.make_dataclass(
        "ModelSettings",
        _fields(),
        bases=(_Dial,),
        frozen=True,
        namespace={
            "__doc__": """A model as one asks for it: preset, depth, and fields of `ModelConfig`.

    A field that is "auto" comes from the data, the depth or the preset, as its help says. None is
    what it is in `ModelConfig`: `logit_softcap=None` leaves the logits alone.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """,
            "__module__": __name__,
        },
    )


def model_config(settings: ModelSettings, n_vocab: int) -> ModelConfig:
    """The model's shape: what is given, and the rest from the depth and the preset.

    Args:
        settings: What is asked for.
        n_vocab: Ids that the data can hold, taken for the vocabulary if no size is given.

    Raises:
        ValueError: Sizes that do not go together; the message names them.
    """
    given = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(ModelConfig)
        if getattr(settings, field.name) != AUTO
    }
    depth = settings.depth
    if depth == AUTO:
        depth = given.get("n_layer", DEFAULT_DEPTH)
    whole = _WHOLE_HEADS.get(settings.preset, 1)
    width = given.get("d_model", -(-WIDTH_PER_LAYER * depth // whole) * whole)
    sizes = {
        "vocab_size": n_vocab,
        "d_model": width,
        "n_layer": depth,
        "n_head": _heads(width, whole),
    }
    return ModelConfig.preset(settings.preset, **{**sizes, **given})


def _heads(width: int, whole: int) -> int:
    if whole > 1 and width % whole == 0:
        return width // whole
    for size in (128, 64) if width >= _WIDE else (64, 32):
        if width % size == 0:
            return width // size
    return 1
