"""What training takes on each of several processes: bytes by part, and bytes that travel.

The model is laid out as `Zero2` and `Fsdp` do it, on the meta device, where tensors have shapes and
no numbers. What FSDP2 gathers follows from what torch documents of `fully_shard`, where each layer
is a group and the rest is one: a layer is gathered for its forward pass and once more for its
backward pass, the next one meanwhile; the rest stays gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bytemill.lm.distributed.layout import SHARDS, Shard, rows_of_rank, share_out
from bytemill.lm.distributed.zero2 import kinds_of, trained
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost import accounting
from bytemill.lm.model.cost.activations import FP32, ComputeDtype
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from bytemill.lm.optim.muon import new_state


@dataclass(frozen=True)
class RankCosts:
    """Bytes on the rank that has most, and what each rank sends in a step."""

    weights: float
    """With those that are gathered for a while."""
    gathered: float
    """Of the weights; 0 where all are always there."""
    gradients: float
    """With the sums of this rank's share."""
    optimizer: float
    activations: float
    loss: float
    sent: float
    """Bytes that a rank sends in a step, to add gradients up and to hand weights on; it receives as
    many."""

    @property
    def total(self) -> float:
        """Of the memory."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss


def rank_costs(
    config: ModelConfig,
    optimizer: OptimConfig,
    n_processes: int,
    shard: Shard = "zero2",
    *,
    rows: int = 1,
    micro_batches: int = 1,
    dtype: ComputeDtype = "bfloat16",
) -> RankCosts:
    """What each of several processes takes.

    Args:
        config: The model.
        optimizer: What it is trained with.
        n_processes: How many there are.
        shard: "zero2" or "fsdp", as of `bytemill train`.
        rows: Computed at a time by each.
        micro_batches: Of a process in a step.
        dtype: Computed in.

    Raises:
        ValueError: An argument is out of range.
    """
    if n_processes < 1:
        raise ValueError(f"world_size={n_processes}: it must be at least 1")
    if shard not in SHARDS:
        raise ValueError(f"shard={shard!r}: it must be one of {', '.join(SHARDS)}")
    alone = accounting.training_memory(
        config, batch_size=rows, optimizer=optimizer.kind, dtype=dtype
    )
    laid = _laid_out(config, optimizer, n_processes, shard)
    if shard == "zero2":
        return RankCosts(
            weights=alone.weights,
            gathered=0.0,
            gradients=alone.gradients + (FP32 * laid.row if n_processes > 1 else 0),
            optimizer=FP32 * laid.states,
            activations=alone.activations,
            loss=alone.loss,
            sent=2 * FP32 * laid.row * (n_processes - 1),
        )
    n = accounting.count_parameters(config).total
    layer = accounting.count_parameters(config).matrices / config.n_layer
    rest = n - layer * config.n_layer
    share, others = 1 / n_processes, (n_processes - 1) / n_processes
    if n_processes == 1:
        gathered = gradients = 0.0
    else:
        gathered = FP32 * (rest + min(2, config.n_layer) * layer)
        gradients = FP32 * (rest + layer)
    gathers = micro_batches * (2 * layer * config.n_layer + rest)
    return RankCosts(
        weights=FP32 * laid.kept + gathered + (alone.weights - FP32 * n) * share,
        gathered=gathered,
        gradients=FP32 * laid.kept + gradients,
        optimizer=FP32 * laid.states,
        activations=alone.activations,
        loss=alone.loss,
        # Gradients are summed after each micro-batch; and weights and gradients of matrices go to
        # the rank that updates them whole, and come back.
        sent=FP32 * (others * (gathers + micro_batches * n) + 3 * laid.dealt * (n_processes - 1)),
    )


@dataclass(frozen=True)
class _Laid:
    """Numbers, on the rank that has most."""

    row: int
    """In its rows of all buckets."""
    dealt: int
    """Of these, in those of matrices that are dealt out whole, by the rows that each rank sends."""
    kept: int
    """In slices of all weights."""
    states: int
    """In the optimizers' states."""


def _laid_out(config: ModelConfig, optimizer: OptimConfig, ranks: int, shard: Shard) -> _Laid:
    model = Transformer(config, device="meta")
    optimizers = build_optimizers(model, optimizer)
    weights = trained(model, optimizers)
    kinds = kinds_of(weights, optimizers)
    buckets = share_out(kinds, ranks)
    of_other = accounting.STATES[optimizer.kind][1]
    groups = {
        id(w): group for one in optimizers for group in one.param_groups for w in group["params"]
    }
    states = [
        _kept(weight, groups[id(weight)]) if kind.is_whole else of_other * kind.numel
        for weight, kind in zip(weights, kinds, strict=True)
    ]
    by_rank = [0] * ranks
    for piece in (piece for bucket in buckets for piece in bucket.pieces):
        kind = kinds[piece.parameter]
        if shard == "zero2" or kind.is_whole:
            by_rank[piece.rank] += states[piece.parameter] * piece.numel // kind.numel
    kept = [0] * ranks
    for kind, numbers in zip(kinds, states, strict=True):
        each = kind.numel // kind.shape[0]
        for rank in range(ranks):
            n = each * len(range(kind.shape[0])[rows_of_rank(kind.shape[0], rank, ranks)])
            kept[rank] += n
            if shard == "fsdp" and not kind.is_whole:
                by_rank[rank] += numbers * n // kind.numel
    whole = (b for b in share_out(kinds, ranks, 1) if kinds[b.pieces[0].parameter].is_whole)
    dealt = sum(
        kind.numel // kind.shape[0] * -(-kind.shape[0] // ranks)
        for kind in (kinds[bucket.pieces[0].parameter] for bucket in whole)
    )
    return _Laid(sum(bucket.width for bucket in buckets), dealt, max(kept), max(by_rank))


def _kept(matrix: Tensor, group: dict[str, Any]) -> int:
    """Numbers that Muon keeps for a matrix: its momentum, and a second moment for rows or columns,
    if there is one."""
    return sum(value.numel() for value in new_state(matrix, group).values())
