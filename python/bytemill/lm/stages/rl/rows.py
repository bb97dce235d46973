"""Rows of tensors of rollouts, and rollouts that travel between ranks and into checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.stages.rl.objective import Rows
from bytemill.lm.stages.rl.rollouts import Question, Rollout

_HEAD: Final = 3
_MORE: Final[tuple[str, ...]] = ("before", "reference")


@dataclass(frozen=True)
class Row:
    """One row of a step."""

    ids: list[int]
    targets: list[int]
    """As long: the next id where it counts, -1 elsewhere."""
    weight: float
    is_replayed: bool = False
    more: dict[str, list[float]] = field(default_factory=dict)
    """`before` and `reference`: log-probabilities of the targets that count."""

    @classmethod
    def of(cls, rollout: Rollout, advantage: float) -> Row:
        """A rollout: what the model wrote counts; the prompt, and what a tool wrote, do not."""
        whole = [*rollout.prompt, *rollout.ids]
        counts = [*[0] * len(rollout.prompt), *rollout.mask]
        targets = [i if c else IGNORED for i, c in zip(whole[1:], counts[1:], strict=True)]
        return cls(whole[:-1], targets, advantage)

    @property
    def n_counted(self) -> int:
        """The targets that count."""
        return sum(target != IGNORED for target in self.targets)


def tensors_of(rows: Sequence[Row], device: torch.device) -> Rows:
    """Rows as tensors, padded on the right to the longest; at least one row, which counts nothing
    where there is none: each rank takes part in a step."""
    if not rows:
        rows = [Row([0], [IGNORED], 0.0)]
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full((len(rows), longest), IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        targets[i, : len(row.ids)] = torch.tensor(row.targets)
    found = Rows(
        ids=ids,
        targets=targets,
        weights=torch.tensor([row.weight for row in rows]),
        replayed=torch.tensor([row.is_replayed for row in rows]),
    )
    for name in {name for row in rows for name in row.more}:
        values = torch.zeros(len(rows), longest)
        for i, row in enumerate(rows):
            if name in row.more:
                values[i][targets[i] != IGNORED] = torch.tensor(row.more[name])
        found[name] = values  # type: ignore[literal-required]
    return {name: value.to(device) for name, value in found.items()}  # type: ignore[return-value, attr-defined]


def exchanged(
    own: Sequence[Rollout],
    questions: Sequence[Question],
    samples: int,
    total: Callable[[Tensor], Tensor],
) -> list[Rollout]:
    """All ranks' rollouts, in the questions' order, on each of them.

    Args:
        own: This rank's, all samples of each of its questions.
        questions: All of the batch, which all ranks know.
        samples: Of each question.
        total: Adds a tensor up over ranks.
    """
    mine = {(r.question, i % samples): r for i, r in enumerate(own)}
    keys = [(q.number, sample) for q in questions for sample in range(samples)]
    # Numbers of 64 bits of either kind are exact here: ids and lengths are below 2^53.
    head = torch.zeros(len(keys), _HEAD, dtype=torch.float64)
    for i, key in enumerate(keys):
        if key in mine:
            one = mine[key]
            head[i] = torch.tensor([len(one.ids), one.is_finished, one.reward])
    head = total(head)
    lengths = [int(n) for n in head[:, 0]]
    body = torch.zeros(2, sum(lengths), dtype=torch.int64)
    at = 0
    for key, n in zip(keys, lengths, strict=True):
        if key in mine:
            body[:, at : at + n] = torch.tensor([mine[key].ids, mine[key].mask])
        at += n
    ids, mask = total(body).tolist()
    prompts = {q.number: q.prompt for q in questions}
    found, at = [], 0
    for (number, _), n, (_, is_finished, reward) in zip(keys, lengths, head.tolist(), strict=True):
        part = slice(at, at + n)
        found.append(
            Rollout(number, prompts[number], ids[part], mask[part], bool(is_finished), reward)
        )
        at += n
    return found


def to_json(row: Row) -> dict[str, Any]:
    """A rollout's row; fit for JSON, which keeps each bit of a float."""
    return {"ids": row.ids, "targets": row.targets, "weight": row.weight, **row.more}


def from_json(data: dict[str, Any]) -> Row:
    """What `to_json` made.

    Raises:
        KeyError, TypeError, ValueError: It is damaged.
    """
    ids, targets = [int(i) for i in data["ids"]], [int(i) for i in data["targets"]]
    more = {name: [float(p) for p in data[name]] for name in _MORE if name in data}
    row = Row(ids, targets, float(data["weight"]), more=more)
    if len(ids) != len(targets) or any(len(p) != row.n_counted for p in more.values()):
        raise ValueError("a rollout's ids, targets and probabilities do not go together")
    return row
