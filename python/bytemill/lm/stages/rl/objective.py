"""The loss of reinforcement learning: a policy gradient, token by token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypedDict

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.model.loss import rows_of_chunk
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.lm.train.steps.objective import n_tokens

Computing = Callable[[], AbstractContextManager[object]]


class Rows(TypedDict, total=False):
    """Rows of a step, rollouts and replayed conversations."""

    ids: Tensor
    """(R, T) int64, padded on the right."""
    targets: Tensor
    """(R, T) int64: the next id where it counts, -1 elsewhere."""
    weights: Tensor
    """(R,) fp32: a rollout's advantage, or what a replayed row's loss is multiplied by."""
    replayed: Tensor
    """(R,) bool: which rows are replayed."""
    before: Tensor
    """(R, T) fp32: the targets' log-probabilities at the time of the rollout; missing where a batch
    is used once."""
    reference: Tensor
    """(R, T) fp32: the same under the weights at the beginning; missing without a divergence."""


class PolicyGradient:
    """-log p times the advantage, a mean over all ranks' tokens that the model wrote.

    With `clip` it is PPO's loss: the negative of the lesser of ratio * A and clip(ratio) * A, where
    the ratio is p over the probability at the time of the rollout (Schulman et al. 2017,
    https://arxiv.org/abs/1707.06347, equation 7). With `kl` an estimate of the divergence from the
    weights at the beginning is added at each token: exp(d) - d - 1, d = log reference - log p. It
    is never negative, and its mean over what the model itself writes is the divergence (Schulman
    2020, http://joschu.net/blog/kl-approx.html, "k3"). Replayed rows add -log p times their weight.

    Args:
        model: It is trained.
        settings: Of the loss.
        computing: Makes the context to compute in, such as autocast.
    """

    def __init__(
        self, model: Transformer, settings: RlSettings, computing: Computing = nullcontext
    ) -> None:
        self._model, self._settings, self._computing = model, settings, computing
        self._sums = torch.zeros(len(_SUMS), dtype=torch.float64)

    def count(self, batch: Rows) -> Tensor:
        """The tokens of rollouts that count."""
        rollouts = ~batch["replayed"]
        return (batch["targets"][rollouts] != IGNORED).sum()

    def tokens(self, batch: Rows) -> Tensor:
        """All of the rows', prompts included."""
        return n_tokens(batch["targets"])

    def loss_sum(self, batch: Rows) -> Tensor:
        """The loss summed over a micro-batch."""
        batch = _trimmed(batch)
        ids, targets = batch["ids"], batch["targets"]
        counts = targets != IGNORED
        with self._computing():
            hidden = self._model.hidden(ids)
            if not bool(counts.any()):  # a row that only keeps a rank in step
                return hidden.float().sum() * 0.0
            log_p = log_probs(self._model, hidden[counts], targets[counts])
        weights = batch["weights"][:, None].expand(targets.shape)[counts]
        replayed = batch["replayed"][:, None].expand(targets.shape)[counts]
        before = batch["before"][counts] if "before" in batch else None
        loss, clipped = _policy_loss(log_p, weights, replayed, before, self._settings.clip)
        own = ~replayed
        sums = {"tokens": own.sum(), "clipped": clipped}
        if "reference" in batch and self._settings.kl is not None:
            divergence = k3(log_p, batch["reference"][counts])[own].sum()
            loss = loss + self._settings.kl * divergence
            sums["kl"] = divergence.detach()
        self._sums += torch.stack([_double(sums.get(name, 0)) for name in _SUMS])
        return loss

    def take_sums(self) -> Tensor:
        """Sums over this rank's micro-batches since the last call, (3,) fp64: tokens of rollouts,
        how many of them the clip held, and the divergence."""
        found, self._sums = self._sums, torch.zeros_like(self._sums)
        return found


_SUMS: Final = ("tokens", "clipped", "kl")


def k3(log_p: Tensor, reference: Tensor) -> Tensor:
    """An estimate of the divergence KL(p, reference) at each token that was drawn from p."""
    difference = reference - log_p
    return difference.exp() - difference - 1


def _policy_loss(
    log_p: Tensor, weights: Tensor, replayed: Tensor, before: Tensor | None, clip: float | None
) -> tuple[Tensor, Tensor]:
    """The summed loss of tokens (N,), and how many of them the clip holds."""
    plain = -(log_p * weights)
    if clip is None:
        return plain.sum(), torch.zeros(())
    # At a batch's first step the ratio is 1, and its gradient is that of log p.
    ratio = (log_p - (log_p.detach() if before is None else before)).exp()
    held = ratio.clamp(1 - clip, 1 + clip)
    surrogate = -torch.minimum(ratio * weights, held * weights)
    clipped = (held * weights < ratio * weights) & ~replayed
    return torch.where(replayed, plain, surrogate).sum(), clipped.sum()


def token_log_probs(
    model: Transformer, batch: Rows, rows: int, computing: Computing = nullcontext
) -> Tensor:
    """log p of each target that counts, (R, T) fp32 without gradient; 0 elsewhere.

    Args:
        model: In the mode that it is in.
        batch: Its ids and targets.
        rows: How many to compute at a time.
        computing: As for `PolicyGradient`.
    """
    ids, targets = batch["ids"], batch["targets"]
    result = torch.zeros(targets.shape, device=targets.device)
    for first in range(0, len(ids), rows):
        some = _trimmed(Rows(ids=ids[first : first + rows], targets=targets[first : first + rows]))
        counts = some["targets"] != IGNORED
        with torch.no_grad(), computing():
            hidden = model.hidden(some["ids"])
            found = log_probs(model, hidden[counts], some["targets"][counts])
        result[first : first + rows, : counts.shape[1]].masked_scatter_(counts, found.float())
    return result


def log_probs(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    """log p of targets (N,) by vectors (N, C), fp32, some at a time: the logits of all of them at
    once, and those of the backward pass, could be larger than the model."""
    size = rows_of_chunk(hidden, model.config.vocab_size)
    parts = []
    for some, wanted in zip(torch.split(hidden, size), torch.split(targets, size), strict=True):
        if torch.is_grad_enabled() and len(targets) > size:
            part = checkpoint(_of_chunk, model, some, wanted, use_reentrant=False)
        else:
            part = _of_chunk(model, some, wanted)
        parts.append(part)
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def _of_chunk(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = model.logits(hidden)
    return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)


def _trimmed(batch: Rows) -> Rows:
    """Without the places behind which nothing counts."""
    counts = (batch["targets"] != IGNORED).any(0)
    last = int(counts.nonzero()[-1]) + 1 if bool(counts.any()) else 1
    trimmed = {
        name: value[:, :last] if isinstance(value, Tensor) and value.ndim == 2 else value
        for name, value in batch.items()
    }
    return trimmed  # type: ignore[return-value]


def _double(value: Tensor | int) -> Tensor:
    return torch.as_tensor(value).cpu().double()
