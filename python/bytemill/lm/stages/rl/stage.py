"""`Rl`: reinforcement learning, the stage after fine-tuning."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.checkpoint.state import load_weights, read_file, write_file
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.validation import Batches, Validation
from bytemill.lm.model.adapters.lora import merged_weights
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import peak_rates
from bytemill.lm.stages.asked import Asked
from bytemill.lm.stages.config import SftConfig
from bytemill.lm.stages.conversations import Conversations, Share
from bytemill.lm.stages.mixture import Mixture, mixture
from bytemill.lm.stages.recipes import recipe_of
from bytemill.lm.stages.rl.config import RlConfig
from bytemill.lm.stages.rl.objective import PolicyGradient
from bytemill.lm.stages.rl.problems import Problems
from bytemill.lm.stages.rl.rollouts import check_judged
from bytemill.lm.stages.rl.source import RolloutSource
from bytemill.lm.stages.rows import rows_of
from bytemill.lm.stages.stage import Stage
from bytemill.lm.train.events import Event
from bytemill.lm.train.loop import Loop
from bytemill.lm.train.saved_run import CONFIG
from bytemill.lm.train.start.memory import rows_that_fit
from bytemill.lm.train.start.started import Started
from bytemill.lm.train.steps.objective import Objective
from bytemill.lm.train.steps.source import Source
from bytemill.tasks import task as tasks
from bytemill.tasks.named import Sources
from bytemill.tasks.words import default_words, words_in

LR_FACTOR: Final = 0.05
REFERENCE: Final = "reference.safetensors"
"""In a run's folder, the weights that it began with, where their divergence is measured."""
_DRAWN: Final = 100_000
"""Items of a mixture by weight, before they come in another order."""


@dataclass(frozen=True)
class RlStarted(Started):
    """A run of reinforcement learning is set up; the first step comes next."""

    tasks: tuple[str, ...]
    questions: int
    """In a batch."""
    samples: int
    problems: int
    """Of a validation."""
    replayed: int
    """Rows in a step."""


@dataclass(frozen=True)
class Rewarded(Event):
    """What was written since the last line of the log."""

    step: int
    figures: dict[str, float]
    """As the log has them."""


class Rl(Stage[RlConfig]):
    """Trains a model on what it writes itself, by what judges say of it.

    See `bytemill.lm.train.run.Run` for its arguments, and for what the folder gets.
    """

    mixture: Mixture
    problems: Problems

    # What it reads

    def _open_data(self) -> None:
        data, settings = self.config.data, self.config.rollouts
        self.mixture = _mixture(data.tasks, self._words(data.words), data.path)
        self._asks = _one_task(self.mixture.train)
        check_judged(self._asks)
        both = zip(self.mixture.val_names, self.mixture.val, strict=True)
        self.problems = Problems(
            {name: (share.task, share.weight or 1.0) for name, share in both},
            data.eval_problems,
            data.eval_samples,
            settings,
            self.config.run.seed,
        )
        self._replayed = self._to_replay() if settings.replay_rows else None
        self._reference: Transformer | None = None
        self._policy: PolicyGradient | None = None
        self._rollouts: RolloutSource | None = None

    def _words(self, path: str | None) -> list[str]:
        return words_in(path) if path else default_words(self.base.tokenizer.mergeable_ranks)

    def _to_replay(self) -> StreamLoader:
        """Batches of the conversations that are trained on beside."""
        run, data = self.config.run, self.config.data
        text = run.init_from if data.replay is None else data.replay
        data_path, words = data.path, data.words
        packing, mask, skip_bad = "best-fit", True, False
        if (Path(text) / CONFIG).is_file():
            try:
                of_run = SftConfig.load(Path(text) / CONFIG)
            except ValueError as error:
                raise ValueError(
                    f"replay_rows={self.config.rollouts.replay_rows}: {text} is not a run of sft "
                    f"({error}); say with replay what to train on beside"
                ) from None
            recipe = recipe_of(of_run.STAGE, of_run.run.preset, self.base.optimizer.recipe)
            text, words, data_path = (
                of_run.data.tasks or recipe.tasks,
                of_run.data.words,
                of_run.data.path,
            )
            packing = recipe.rows if of_run.data.rows == "auto" else of_run.data.rows
            mask = recipe.mask if of_run.data.mask is None else of_run.data.mask
            skip_bad = of_run.data.skip_bad
        elif data.replay is None:
            raise ValueError(
                f"replay_rows={self.config.rollouts.replay_rows}: init_from is not the folder of "
                "a run of sft; say with replay what to train on beside"
            )
        conversations = Conversations(
            _mixture(text, self._words(words), data_path, skip_bad=skip_bad).train,
            self.dialogue.renderer,
            None if packing == "stream" else self.context_length + 1,
            mask=mask,
            seed=run.seed + 1,
        )
        rows = rows_of(packing, conversations, self.context_length, self.dialogue.first)  # type: ignore[arg-type]
        return StreamLoader([rows], self.config.rollouts.replay_rows, seed=run.seed)

    # What `Stage` and `Run` ask

    def _defaults(self) -> tuple[float, float, int]:
        return LR_FACTOR, 1.0, self._batch_size

    @property
    def _batch_size(self) -> int:
        return self.config.rollouts.questions * self.config.rollouts.samples

    def _rows_in_epoch(self) -> float | None:
        is_weighted = any(share.weight is not None for share in self.mixture.train)
        return None if is_weighted else float(len(self._asks) * self.config.rollouts.samples)

    def _horizon(self, config: RlConfig, usual: int) -> tuple[int, int]:
        """Steps, and rollouts in each."""
        asked, of_epoch = config.schedule, self._rows_in_epoch()
        if asked.steps is not None:
            return asked.steps, usual
        if of_epoch is None:
            raise ValueError(
                f"epochs={asked.epochs}: there is no end to what is drawn by weight; give steps"
            )
        batches = (asked.epochs or 1.0) * of_epoch / usual
        return max(round(batches * config.rollouts.updates), 1), usual

    def _source(self) -> Source:
        settings, run = self.config.rollouts, self.config.run
        if settings.kl is not None:
            self._reference = Transformer(self.plan.model, device=self.device)
            self._reference.eval().requires_grad_(False)
        self._rollouts = RolloutSource(
            self.model,
            self.dialogue.renderer,
            self._asks,
            settings,
            seed=run.seed,
            world=self.world,
            replay=self._replayed,
            reference=self._reference,
            computing=lambda: runtime.autocast(self.device, self.dtype),
            dtype=self._decoding_dtype,
            rows=run.micro_batch_size
            or rows_that_fit(self.plan, self.device, self.dtype, self.world.size),
        )
        return self._rollouts

    @property
    def _decoding_dtype(self) -> torch.dtype | None:
        return None if self.dtype == torch.float32 else self.dtype

    def _objective(self) -> Objective:
        self._policy = PolicyGradient(
            self.model, self.config.rollouts, lambda: runtime.autocast(self.device, self.dtype)
        )
        return self._policy

    def _begin(self) -> None:
        super()._begin()
        if self._reference is not None:
            self._reference.load_state_dict(merged_weights(self.model.state_dict()))

    def _load(self, loop: Loop, checkpoint: Checkpoint, saved: Any) -> None:
        super()._load(loop, checkpoint, saved)
        if self._reference is None:
            return
        path = self._folder.path / REFERENCE
        if not path.is_file():
            raise ValueError(
                f"{path}: the file is missing, without which the run cannot go on: restore it from "
                "a copy, or begin a new run"
            )
        load_weights(self._reference, read_file(path))

    def _validation_batches(self) -> Batches:
        return []

    def _val_content(self) -> str | None:
        return self._content_of_val

    @cached_property
    def _content_of_val(self) -> str | None:
        if not self.mixture.val:
            return None
        shares = [Share(share.task, 1, None) for share in self.mixture.val]
        return Conversations(shares, self.dialogue.renderer, None, mask=True).content

    def _contents(self) -> dict[str, Any]:
        return {
            **super()._contents(),
            "questions": None if self._rollouts is None else self._rollouts.content,
            "validation data": self._val_content(),
        }

    def _started(self, loop: Loop, seconds: float) -> tuple[Started, list[str]]:
        # Another beginning in this folder, which saved nothing, may have left other ones.
        if self._reference is not None and self.world.leads and not loop.step:
            write_file(self._folder.path / REFERENCE, self._reference.state_dict())
        settings = self.config.rollouts
        notes = []
        if not self.mixture.val:
            notes.append("no task has 20 items or more to keep some for validation")
        started = RlStarted(
            plan=self.plan,
            step=loop.step,
            rates=peak_rates(self.optimizers),
            seconds=seconds,
            epochs=0.0,
            device=runtime.device_name(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            is_compiled=False,
            micro_batch_size=loop.rows or self.plan.batch_size,
            train_tokens=0,
            val_tokens=0,
            tasks=self.mixture.names,
            questions=settings.questions,
            samples=settings.samples,
            problems=len(self.problems),
            replayed=settings.replay_rows,
        )
        return started, notes

    # What the loop calls

    def validate(self) -> Validation | None:
        """As `bytemill.lm.train.steps.hooks.Hooks` says: 1 - pass@1 on problems kept back."""
        if not len(self.problems):
            return None
        with self._average.applied() if self._average else nullcontext():
            found = self.problems.solved(
                self.model, self.dialogue.renderer, self.world, self._decoding_dtype
            )
        self._tell(Asked(self.step, found))
        return Validation(1 - found["pass@1"], None, found)

    def _line_figures(self) -> dict[str, float]:
        """What the log tells besides: of the rollouts, the clip and the divergence."""
        if self._rollouts is None or self._policy is None:
            return {}
        found = self._rollouts.take_figures()
        tokens, clipped, divergence = self.world.total(self._policy.take_sums()).tolist()
        if self.config.rollouts.clip is not None:
            found["clipped"] = clipped / max(tokens, 1)
        if self._reference is not None:
            found["kl"] = divergence / max(tokens, 1)
        self._tell(Rewarded(self.step, found))
        return found


def _mixture(text: str, words: list[str], data: str, *, skip_bad: bool = False) -> Mixture:
    return mixture(text, Sources(Path(data), words, split="train"), skip_bad=skip_bad)


def _one_task(shares: tuple[Share, ...]) -> tasks.Task:
    """All of a mixture's tasks as one."""
    weights = [share.weight for share in shares if share.weight is not None]
    if weights and len(weights) < len(shares):
        raise ValueError("some tasks have weights and others not; give all of them one, or none")
    if len(shares) == 1 and shares[0].repeats == 1:
        return shares[0].task
    if weights:
        return tasks.Weighted([share.task for share in shares], weights, _DRAWN)
    return tasks.Mixture([share.task for share in shares for _ in range(share.repeats)])
