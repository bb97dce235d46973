"""The language-model stack: from token shards to a model that writes. Needs the extra `lm`.

Its parts as plain functions are in `bytemill.lm.functional`.
"""

from bytemill.lm.device.threads import import_torch

import_torch()

from bytemill.lm.model.cache import KVCache  # noqa: E402
from bytemill.lm.model.config import ModelConfig  # noqa: E402
from bytemill.lm.model.transformer import Transformer  # noqa: E402

__all__ = ["KVCache", "ModelConfig", "Transformer"]
