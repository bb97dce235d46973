"""Pairs in an order, as batches, with what the model at the beginning gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.batches.rows import share_of
from bytemill.lm.stages.dpo.objective import PairRows
from bytemill.lm.stages.dpo.pairs import Encoded, EncodedPair


class PairSource:
    """Batches of pairs, without end: each pair once in an epoch, in an order of the epoch's own.

    Args:
        pairs: All of them.
        batch_size: Pairs in a step.
        seed: Decides the order.
        content: What stands for the pairs, by which a run that goes on knows them.
        device: Where batches go.
    """

    def __init__(
        self,
        pairs: Sequence[EncodedPair],
        batch_size: int,
        *,
        seed: int,
        content: str,
        device: torch.device,
    ) -> None:
        self._pairs, self._batch_size, self._seed = pairs, batch_size, seed
        self._content, self._device, self._at = content, device, 0
        self.reference: npt.NDArray[np.float32] = np.zeros((len(pairs), 2), np.float32)
        """(N, 2): see `PairRows`; whoever makes the source fills it."""
        self._orders: dict[int, npt.NDArray[np.int64]] = {}

    def next_batch(self) -> PairRows:
        """As `bytemill.lm.train.steps.source.Source` says."""
        return self.next_share(0, 1)

    def next_share(self, rank: int, size: int) -> PairRows:
        """As `bytemill.lm.train.steps.source.Source` says."""
        numbers = [self._at + i for i in share_of(self._batch_size, rank, size)]
        self._at += self._batch_size
        which = [self._which(number) for number in numbers]
        return tensors_of([self._pairs[i] for i in which], self.reference[which], self._device)

    def state_dict(self) -> dict[str, Any]:
        """As `bytemill.lm.train.steps.source.Source` says."""
        return {"at": self._at, "seed": self._seed, "content": self._content}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `bytemill.lm.train.steps.source.Source` says."""
        for name, own in (("content", self._content), ("seed", self._seed)):
            if state.get(name) != own:
                raise ValueError(
                    f"the run was begun with pairs of {name} {state.get(name)!r}, and these are of "
                    f"{own!r}: resume with the same pairs, seed and context"
                )
        self._at = int(state["at"])

    def _which(self, number: int) -> int:
        epoch, place = divmod(number, len(self._pairs))
        if epoch not in self._orders:
            random = np.random.default_rng([self._seed, epoch])
            self._orders = {epoch: random.permutation(len(self._pairs))}
        return int(self._orders[epoch][place])


def tensors_of(
    pairs: Sequence[EncodedPair], reference: npt.NDArray[np.float32], device: torch.device
) -> PairRows:
    """Pairs as tensors, padded on the right to the longest."""
    longest = max(len(each.ids) for pair in pairs for each in (pair.chosen, pair.rejected))

    def padded(rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        targets = torch.full((len(rows), longest), IGNORED)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            targets[i, : len(row.ids)] = torch.tensor(row.targets)
        return ids.to(device), targets.to(device)

    chosen, chosen_targets = padded([pair.chosen for pair in pairs])
    rejected, rejected_targets = padded([pair.rejected for pair in pairs])
    made = {
        "chosen": chosen,
        "chosen_targets": chosen_targets,
        "rejected": rejected,
        "rejected_targets": rejected_targets,
        "reference": torch.from_numpy(reference).to(device),
    }
    return cast("PairRows", made)
