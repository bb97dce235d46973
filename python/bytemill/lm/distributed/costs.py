"""What training takes on each of several processes: bytes by part, and bytes that travel.

For ZeRO-2 the model is laid out as `Zero2` does it, on the meta device, where tensors have shapes
and no numbers. For FSDP2 the figures follow from what torch documents of `fully_shard`, where each
layer is a group and the rest is one: all is shared out evenly; a layer is gathered for its forward
pass and once more for its backward pass, the next one meanwhile; the rest stays gathered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from torch.optim import Optimizer

from bytemill.lm.distributed.layout import share_out
from bytemill.lm.distributed.zero2 import kinds_of, trained
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost import accounting
from bytemill.lm.model.cost.activations import FP32, ComputeDtype
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import OptimConfig, build_optimizers

Shard = Literal["zero2", "fsdp"]
SHARDS: Final[tuple[Shard, ...]] = get_args(Shard)


@dataclass(frozen=True)
class RankCosts:
    """Bytes on the rank that has most, and what each rank sends in a step."""

    weights: float
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
        shard: "zero2", which `bytemill train` uses; "fsdp" is torch's FSDP2, for comparison.
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
    n = accounting.count_parameters(config).total
    share = 1 / n_processes
    others = (n_processes - 1) / n_processes
    if shard == "zero2":
        row, most = _zero2(config, optimizer, n_processes)
        return RankCosts(
            weights=alone.weights,
            gradients=alone.gradients + (FP32 * row if n_processes > 1 else 0),
            optimizer=FP32 * most,
            activations=alone.activations,
            loss=alone.loss,
            sent=2 * FP32 * row * (n_processes - 1),
        )
    layer = accounting.count_parameters(config).matrices / config.n_layer
    rest = n - layer * config.n_layer
    if n_processes == 1:
        gathered = gradients = 0.0
    else:
        gathered = FP32 * (rest + min(2, config.n_layer) * layer)
        gradients = FP32 * (rest + layer)
    gathers = micro_batches * (2 * layer * config.n_layer + rest)
    return RankCosts(
        weights=FP32 * n * share + gathered + (alone.weights - FP32 * n) * share,
        gradients=alone.gradients * share + gradients,
        optimizer=alone.optimizer * share,
        activations=alone.activations,
        loss=alone.loss,
        sent=FP32 * others * (gathers + n),
    )


def _zero2(config: ModelConfig, optimizer: OptimConfig, n_processes: int) -> tuple[int, int]:
    """Numbers in a rank's rows of all buckets, and in the optimizer states of the rank that has
    most."""
    model = Transformer(config, device="meta")
    optimizers = build_optimizers(model, optimizer)
    kinds = kinds_of(trained(model, optimizers), optimizers)
    buckets = share_out(kinds, n_processes)
    of_matrix, of_other = accounting.STATES[optimizer.kind]
    states = [_states(kind.is_whole, optimizers, of_matrix, of_other) for kind in kinds]
    by_rank = [
        sum(states[piece.parameter] * piece.numel for b in buckets for piece in b.of_rank(rank))
        for rank in range(n_processes)
    ]
    return sum(bucket.width for bucket in buckets), max(by_rank)


def _states(is_whole: bool, optimizers: Sequence[Optimizer], matrix: int, other: int) -> int:
    # With a single optimizer there is nothing that is dealt out whole.
    return matrix if is_whole or len(optimizers) == 1 else other
