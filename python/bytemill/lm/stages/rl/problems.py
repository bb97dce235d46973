"""Problems that are not trained on: how often a model solves them, in one reply or in several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bytemill.chat.render import Renderer
from bytemill.lm.evaluate.pass_at_k import pass_at_k
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.stages.rl.rollouts import Question, roll_out
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.lm.train.steps.world import World
from bytemill.tasks.task import Slice, Task, scaled


class Problems:
    """The first items of some tasks, asked again and again with the same chance.

    Args:
        tasks: By name, with the share that each has of the problems.
        n: How many problems there are in all, about; each task has one at least.
        samples: Replies to each.
        settings: How replies are written.
        seed: Of their chance.
    """

    def __init__(
        self,
        tasks: Mapping[str, tuple[Task, float]],
        n: int,
        samples: int,
        settings: RlSettings,
        seed: int,
    ) -> None:
        shares = scaled([share for _, share in tasks.values()]) if tasks else []
        self._tasks = {
            name: Slice(task, 0, max(round(n * share / sum(shares)), 1))
            for (name, (task, _)), share in zip(tasks.items(), shares, strict=True)
        }
        self._settings = replace(settings, samples=samples)
        self._seed = seed

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._tasks.values()))

    def solved(
        self, model: Transformer, renderer: Renderer, world: World, dtype: torch.dtype | None
    ) -> dict[str, float]:
        """Asks all, the ranks a part each.

        Args:
            model: It replies.
            renderer: Of its tokenizer.
            world: The ranks; each calls this.
            dtype: To write in; the weights' own if None.

        Returns:
            "pass@1" to "pass@SAMPLES", means over all problems, and "pass@1 NAME" of each task if
            there are several. A prompt that does not fit into the context is not solved.
        """
        samples = self._settings.samples
        found = {}
        sums = torch.zeros(samples, dtype=torch.float64)
        for number, (name, task) in enumerate(self._tasks.items()):
            solved = self._of_task(number, task, model, renderer, world, dtype)
            sums += solved
            found[f"pass@1 {name}"] = float(solved[0]) / len(task)
        of_all = {f"pass@{k}": float(sums[k - 1]) / len(self) for k in range(1, samples + 1)}
        return {**of_all, **found} if len(found) > 1 else of_all

    def _of_task(
        self,
        number: int,
        task: Task,
        model: Transformer,
        renderer: Renderer,
        world: World,
        dtype: torch.dtype | None,
    ) -> Tensor:
        """The sums of pass@k over a task's problems, for k from 1, on all ranks."""
        questions = []
        for index in range(world.rank, len(task), world.size):
            item = task[index]
            prompt = renderer.prompt(item.conversation)
            if len(prompt) <= model.config.context_length:
                questions.append(Question(index, item, prompt))
        # Batches of a run are counted from 0.
        rollouts = roll_out(
            model,
            renderer,
            task,
            questions,
            self._settings,
            seed=self._seed,
            batch=-1 - number,
            dtype=dtype,
        )
        samples = self._settings.samples
        sums = torch.zeros(samples, dtype=torch.float64)
        for first in range(0, len(rollouts), samples):
            right = sum(one.reward >= 1 for one in rollouts[first : first + samples])
            sums += torch.tensor([pass_at_k(samples, right, k + 1) for k in range(samples)])
        return world.total(sums)
