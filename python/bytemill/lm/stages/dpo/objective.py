"""The loss of direct preference optimization (DPO): Rafailov et al. 2023, equation 7."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.stages.rl.objective import log_probs
from bytemill.lm.train.steps.objective import n_tokens

Computing = Callable[[], AbstractContextManager[object]]


class PairRows(TypedDict):
    """Pairs of a step; a row is a pair."""

    chosen: Tensor
    """(B, T) int64: ids, padded on the right."""
    chosen_targets: Tensor
    """(B, T) int64: the next id where it counts, -1 elsewhere."""
    rejected: Tensor
    rejected_targets: Tensor
    """The same for the other answer."""
    reference: Tensor
    """(B, 2) fp32: log-probabilities of both answers under the weights at the beginning."""


class Preference:
    """-log sigmoid(m), a mean over pairs, with the margin m = beta (r_chosen - r_rejected).

    r is the log-probability of an answer less that under the weights at the beginning.

    Args:
        model: It is trained.
        beta: How much the weights at the beginning hold it.
        computing: Makes the context to compute in, such as autocast.
    """

    def __init__(self, model: Transformer, beta: float, computing: Computing = nullcontext) -> None:
        self._model, self._beta, self._computing = model, beta, computing
        self._sums = torch.zeros(len(SUMS), dtype=torch.float64)

    def count(self, batch: PairRows) -> Tensor:
        """The pairs."""
        chosen = batch["chosen"]
        return torch.tensor(len(chosen), device=chosen.device)

    def tokens(self, batch: PairRows) -> Tensor:
        """Of both rows of each pair, prompts included."""
        return n_tokens(batch["chosen_targets"]) + n_tokens(batch["rejected_targets"])

    def loss_sum(self, batch: PairRows) -> Tensor:
        """The loss summed over pairs."""
        log_p = answer_log_probs(self._model, batch, self._computing)
        gains = self._beta * (log_p - batch["reference"].to(log_p.dtype))
        margins = gains[:, 0] - gains[:, 1]
        loss = -F.logsigmoid(margins).sum()
        with torch.no_grad():
            found = [
                torch.tensor(float(len(margins))),
                loss,
                (margins > 0).sum(),
                margins.sum(),
                *gains.sum(0),
            ]
            self._sums += torch.stack([each.detach().cpu().double() for each in found])
        return loss

    def take_sums(self) -> Tensor:
        """Sums over this rank's pairs since the last call, as `SUMS` has them, fp64."""
        found, self._sums = self._sums, torch.zeros_like(self._sums)
        return found


SUMS: Final = ("pairs", "loss", "accuracy", "margin", "reward_chosen", "reward_rejected")


def figures_of(sums: Tensor) -> dict[str, float]:
    """Means over pairs: how often the chosen answer gained more than the rejected one, by how much,
    and what both gained, in units of beta times nats. Nothing without pairs."""
    n, *others = sums.tolist()
    return {name: each / n for name, each in zip(SUMS[1:], others, strict=True)} if n else {}


def answer_log_probs(
    model: Transformer, batch: PairRows, computing: Computing = nullcontext
) -> Tensor:
    """log p of both answers of each pair, (B, 2) fp32, with a gradient where that is wanted."""
    n = len(batch["chosen"])
    ids = torch.cat((batch["chosen"], batch["rejected"]))
    targets = torch.cat((batch["chosen_targets"], batch["rejected_targets"]))
    counts = targets != IGNORED
    used = counts.any(0).nonzero()
    width = int(used[-1]) + 1 if len(used) else 1
    ids, targets, counts = ids[:, :width], targets[:, :width], counts[:, :width]
    with computing():
        of_tokens = log_probs(model, model.hidden(ids)[counts], targets[counts])
    rows = torch.arange(2 * n, device=ids.device)[:, None].expand(counts.shape)[counts]
    sums = torch.zeros(2 * n, dtype=of_tokens.dtype, device=ids.device)
    return sums.index_add(0, rows, of_tokens).view(2, n).t()
