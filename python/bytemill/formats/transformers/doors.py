"""The way in, for those who may not have transformers installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bytemill.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REMEDY = "as_transformers needs transformers 5 or later: pip install 'transformers>=5'"


def as_transformers(vocabulary: Vocabulary, options: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """A fast tokenizer of transformers around a vocabulary; `Tokenizer.as_transformers`.

    Raises:
        ImportError: transformers 5 or later is not installed.
        ValueError: The vocabulary cannot be written as a tokenizer.json.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(_REMEDY, name="transformers") from error
    if int(transformers.__version__.split(".")[0]) < 5:
        raise ImportError(f"{_REMEDY} (here is {transformers.__version__})", name="transformers")
    from bytemill.formats.transformers.fast import BytemillTokenizerFast

    return BytemillTokenizerFast(tokenizer_object=vocabulary, **options)
