"""`RolloutSource`: the batches of reinforcement learning, which the model itself writes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import torch

from bytemill.chat.render import Renderer
from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.generate.replies import Tool
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.stages.rl.advantages import Batch, weigh
from bytemill.lm.stages.rl.objective import Computing, Rows, token_log_probs
from bytemill.lm.stages.rl.rollouts import Questions, check_judged, roll_out
from bytemill.lm.stages.rl.rows import Row, exchanged, from_json, tensors_of, to_json
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.lm.train.steps.source import Source
from bytemill.lm.train.steps.world import ALONE, World
from bytemill.tasks.task import Task
from bytemill.tools.calculator import calculate

FIGURES: Final = ("reward", "truncated", "skipped", "reply_tokens")
"""What is told of rollouts: the mean reward, the share that a limit ended, the share of groups
without a difference, and the mean length."""


class RolloutSource:
    """A `bytemill.lm.train.steps.source.Source` of rows for `PolicyGradient`.

    Each rank answers questions of its own; then all know all answers, and share out the rows that
    are trained on. Questions, samples and rows do not depend on how many ranks there are. The
    state holds what is left of a batch that is used several times, so that a run that goes on
    between its steps goes on with the same bits.

    Args:
        model: It writes, and is trained.
        renderer: Of its tokenizer.
        task: Asks and judges.
        settings: How.
        seed: Decides questions and samples.
        world: The ranks.
        replay: Batches of `settings.replay_rows` rows, ids and targets (R, T) each, targets -1
            where they do not count; needed if these are not 0.
        reference: The model with the weights at the beginning; needed with `settings.kl`.
        tool: As for `replies`.
        computing: Makes the context to compute in, such as autocast.
        dtype: To write in; the weights' own if None.
        rows: Rows of log-probabilities to compute at a time.

    Raises:
        ValueError: `replay` or `reference` are missing; the task has no items, or cannot be judged.
    """

    def __init__(
        self,
        model: Transformer,
        renderer: Renderer,
        task: Task,
        settings: RlSettings,
        *,
        seed: int = 0,
        world: World = ALONE,
        replay: Source | None = None,
        reference: Transformer | None = None,
        tool: Tool | None = calculate,
        computing: Computing = nullcontext,
        dtype: torch.dtype | None = None,
        rows: int = 16,
    ) -> None:
        if settings.replay_rows and replay is None:
            raise ValueError(f"replay_rows={settings.replay_rows}: there is nothing to replay")
        if settings.kl is not None and reference is None:
            raise ValueError(f"kl={settings.kl}: there are no weights to compare with")
        check_judged(task)
        self._questions = Questions(task, renderer, model.config.context_length, seed)
        self._model, self._renderer, self._task = model, renderer, task
        self._settings, self._seed, self._world = settings, seed, world
        self._replay = replay if settings.replay_rows else None
        self._reference = reference if settings.kl is not None else None
        self._tool, self._computing, self._dtype, self._rows = tool, computing, dtype, rows
        self.content = task.content()
        """By which a run that goes on knows its questions and their answers."""
        self._batch = self._place = self._left = 0
        self._held: list[Row] = []
        self._told = dict.fromkeys(FIGURES, 0.0)
        self._n_told = 0

    def next_batch(self) -> Rows:
        """The next step's rows."""
        return self.next_share(0, 1)

    def next_share(self, rank: int, size: int) -> Rows:
        """A rank's rows of the next step; every rank calls it."""
        if not self._left:
            self._begin(rank, size)
        self._left -= 1
        rows = [*self._held, *self._replayed()]
        if not self._left:
            self._held = []
        return tensors_of(_share(rows, rank, size), self._device)

    def state_dict(self) -> dict[str, Any]:
        """As `Source` says."""
        return {
            "content": self.content,
            "seed": self._seed,
            "batch": self._batch,
            "place": self._place,
            "left": self._left,
            "held": [to_json(row) for row in self._held],
            "replay": None if self._replay is None else self._replay.state_dict(),
            "told": [*self._told.values(), self._n_told],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Source` says."""
        for name, own in (("content", self.content), ("seed", self._seed)):
            if state[name] != own:
                raise ValueError(
                    f"the run was begun with questions of {name} {state[name]!r}, and these are of "
                    f"{own!r}: resume with the tasks, data, words and seed that it was begun with"
                )
        batch, place, left = (int(state[name]) for name in ("batch", "place", "left"))
        held = [from_json(row) for row in state["held"]]
        if (state["replay"] is None) != (self._replay is None):
            raise ValueError("the run was begun with another choice of what to replay")
        *told, n_told = state["told"]
        if self._replay is not None:
            self._replay.load_state_dict(state["replay"])
        self._batch, self._place, self._left, self._held = batch, place, left, held
        self._told = dict(zip(FIGURES, map(float, told), strict=True))
        self._n_told = int(n_told)

    def take_figures(self) -> dict[str, float]:
        """The means of `FIGURES` over the batches since the last call; none without a batch."""
        n = self._n_told
        found = {name: value / n for name, value in self._told.items()} if n else {}
        self._told, self._n_told = dict.fromkeys(FIGURES, 0.0), 0
        return found

    def _begin(self, rank: int, size: int) -> None:
        """Asks the questions of the next batch."""
        settings = self._settings
        questions, self._place = self._questions.take(self._place, settings.questions)
        own = roll_out(
            self._model,
            self._renderer,
            self._task,
            questions[rank::size],
            settings,
            seed=self._seed,
            batch=self._batch,
            tool=self._tool,
            dtype=self._dtype,
        )
        if size > 1:
            own = exchanged(own, questions, settings.samples, self._total)
        self._batch += 1
        batch = weigh(own, settings)
        self._tell(batch)
        rows = [Row.of(one.rollout, one.advantage) for one in batch.weighed]
        # Rows of like lengths are computed at a time, with little padding.
        self._held = sorted(rows, key=lambda row: -len(row.ids))
        self._left = settings.updates if rows else 1
        if settings.updates > 1:
            self._with("before", self._model, rank, size)
        if self._reference is not None:
            self._with("reference", self._reference, rank, size)

    def _tell(self, batch: Batch) -> None:
        values = (
            batch.reward,
            batch.truncated,
            batch.skipped / self._settings.questions,
            batch.length,
        )
        for name, value in zip(FIGURES, values, strict=True):
            self._told[name] += value
        self._n_told += 1

    def _with(self, name: str, model: Transformer, rank: int, size: int) -> None:
        """Adds the targets' log-probabilities under a model; each rank computes its part."""
        if not self._held:
            return
        own = _share(self._held, rank, size)
        batch = tensors_of(own, self._device)
        was_training = model.training
        model.eval()
        found = token_log_probs(model, batch, self._rows, self._computing).cpu()
        model.train(was_training)
        counts = [row.n_counted for row in self._held]
        flat = torch.zeros(sum(counts), dtype=torch.float64)
        starts = [sum(counts[:i]) for i in range(len(counts))]
        targets = batch["targets"].cpu()
        for i, row in enumerate(range(rank, len(self._held), size)):
            end = starts[row] + counts[row]
            flat[starts[row] : end] = found[i][targets[i] != IGNORED].double()
        values = torch.split(self._total(flat) if size > 1 else flat, counts)
        self._held = [
            replace(row, more={**row.more, name: some.tolist()})
            for row, some in zip(self._held, values, strict=True)
        ]

    def _replayed(self) -> list[Row]:
        """The step's replayed rows: all together their mean loss times the weight, whatever the
        number of tokens by which the loop divides."""
        if self._replay is None:
            return []
        ids, targets = (part.tolist() for part in self._replay.next_batch())
        n = sum(target != IGNORED for row in targets for target in row)
        n_own = max(sum(row.n_counted for row in self._held), 1)
        weight = self._settings.replay_weight * n_own / max(n, 1)
        return [
            Row(some, wanted, weight, is_replayed=True)
            for some, wanted in zip(ids, targets, strict=True)
        ]

    @property
    def _device(self) -> torch.device:
        return self._model.token_embeddings.weight.device

    def _total(self, values: torch.Tensor) -> torch.Tensor:
        return self._world.total(values)


def _share(rows: Sequence[Row], rank: int, size: int) -> Sequence[Row]:
    """A rank's: every one of so many, so that each gets long and short ones."""
    return rows[rank::size]
