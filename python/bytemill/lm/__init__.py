"""The language-model stack: from token shards to a model that writes. Needs the extra `lm`.

Its parts as plain functions are in `bytemill.lm.functional`.
"""

from bytemill.lm.model.cache import KVCache
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.transformer import Transformer

__all__ = ["KVCache", "ModelConfig", "Transformer"]
