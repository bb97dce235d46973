"""Stages after pretraining: a base model becomes an assistant.

`supervised` has mid-training and SFT. `config` has their settings and `recipes` what they come to
where nothing is given; `base` is what a stage begins with. `mixture` makes tasks of names,
`conversations` puts them in order, `rows` packs them, `replay` mixes other rows in, and `asked`
tries the model on items that were kept back. `stage` is what all stages share, RL among them.
"""

from bytemill.lm.stages.asked import Asked
from bytemill.lm.stages.config import MidConfig, SftConfig
from bytemill.lm.stages.supervised import MidTraining, Sft, StageStarted

__all__ = ["Asked", "MidConfig", "MidTraining", "Sft", "SftConfig", "StageStarted"]
