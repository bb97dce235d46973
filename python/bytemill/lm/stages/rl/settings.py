"""`RlSettings`: what is asked, how it is answered, and how rewards become a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bytemill.lm.settings import check, option

MOST_REPLIES: Final = 1_000_000
"""Of a batch: all of them are in memory."""
Truncated = Literal["zero", "drop", "keep"]


@dataclass(frozen=True)
class RlSettings:
    """A step's rollouts, and what the loss makes of them.

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range, or they do not go together; the message names it.
    """

    questions: int = option(16, least=1, help="questions of a batch")
    samples: int = option(16, least=2, help="replies to each question, which are compared")
    max_new_tokens: int = option(
        256, least=1, help="tokens of a reply at most, a tool's results included"
    )
    temperature: float = option(1.0, above=0, help="of the replies: logits are divided by it")
    top_k: int | None = option(
        50, least=1, help="tokens that replies are drawn from at each place", derived="all"
    )
    rollout_rows: int = option(
        256, least=1, decides=False, help="replies that are written at a time; bounds the memory"
    )
    truncated: Literal["zero", "drop", "keep"] = option(
        "zero",
        help="what becomes of replies that a limit ended: their reward is 0, they are dropped, or "
        "they are kept and judged as they are",
    )
    divide_by_deviation: bool = option(
        False, help="divide a group's advantages by their standard deviation"
    )
    updates: int = option(1, least=1, help="steps made of one batch; more than one need a clip")
    clip: float | None = option(
        None,
        above=0,
        help="let the ratio of a token's probability to that at the time of the rollout count "
        "from 1 - CLIP to 1 + CLIP only, as PPO does, such as 0.2",
        derived="no ratio",
    )
    kl: float | None = option(
        None,
        least=0,
        help="the weight of the divergence from the weights at the beginning; 0 measures it only",
        derived="not measured",
    )
    replay_rows: int = option(
        0, least=0, help="conversations that are trained on in each step as in fine-tuning"
    )
    replay_weight: float = option(
        0.5, least=0, help="what their mean loss is multiplied by in the step's"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.questions * self.samples > MOST_REPLIES:
            raise ValueError(
                f"questions={self.questions} with samples={self.samples}: a batch has "
                f"{MOST_REPLIES:,} replies at most"
            )
        if self.updates > 1 and self.clip is None:
            raise ValueError(
                f"updates={self.updates}: from the second step of a batch on the model is not the "
                "one that wrote it; give a clip, such as 0.2"
            )
