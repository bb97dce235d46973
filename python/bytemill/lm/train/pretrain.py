"""`Trainer`: a training run from a configuration, which can be stopped at any time and go on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bytemill.files import naming_full_disk
from bytemill.folder_lock import locked
from bytemill.lm.batches.loaders import fixed_batches
from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER
from bytemill.lm.checkpoint.state import NonFiniteStateError
from bytemill.lm.checkpoint.store import Checkpoint, CheckpointStore
from bytemill.lm.device import runtime
from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.evaluate.validation import Batches, Validation, validate
from bytemill.lm.generate.text import stream_text
from bytemill.lm.model.accounting import largest_batch
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import build_optimizers, peak_rates
from bytemill.lm.train import metrics
from bytemill.lm.train.accumulate import MicroBatches, default_rows
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.events import (
    Event,
    Interrupted,
    Listener,
    MemoryRanOut,
    Started,
    Warned,
)
from bytemill.lm.train.interrupts import interrupts
from bytemill.lm.train.loop import DAY, Every, Loop, NonFiniteLossError, too_long
from bytemill.lm.train.pace import Pace
from bytemill.lm.train.plan import Dial, Plan, plan
from bytemill.lm.train.plot import plot
from bytemill.lm.train.run_data import RunData
from bytemill.lm.train.saved_run import CONFIG, SavedRun, check_free

__all__ = ["CONFIG", "NonFiniteLossError", "Result", "Trainer"]

_CPU_TOKENS: Final = 8192
_CPU_FLOPS: Final = 2e11
"""Of a micro-batch, so that one takes a few seconds at most: the run tells of each."""
_MOST_EPOCHS: Final = 4.0
"""More than these teach a model little (Muennighoff et al. 2023, https://arxiv.org/abs/2305.16264)."""


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    step: int
    """Steps made."""
    is_finished: bool
    """Whether these are all; if not, the run was stopped, and has saved."""
    validation: Validation | None
    """The last one."""
    checkpoint: Path | None
    """The last one's folder."""


class Trainer:
    """Trains a model as a configuration says, into the folder that it names.

    The folder gets config.json, tokenizer/, metrics.jsonl, loss.png and checkpoints/. On the same
    machine, with the same number of threads, a run that was stopped or killed and goes on ends
    with the same bits as one that was not, unless its time is limited (`minutes`).

    Args:
        config: The run.
        on_event: Called with each `bytemill.lm.train.events.Event`. What it raises ends the run.
        resume: Go on from the last checkpoint in the folder, or from the beginning if there is
            none.
    """

    def __init__(
        self, config: TrainConfig, *, on_event: Listener | None = None, resume: bool = False
    ) -> None:
        self.config = config
        self._tell = on_event or _ignore
        self._resume = resume
        self._run = Path(config.run.out)
        self._store = CheckpointStore(self._run, config.run.keep_last)
        self._loop: Loop | None = None
        self._is_stopped = False
        self._notes: list[str] = []

    @property
    def step(self) -> int:
        """Steps made."""
        return self._loop.step if self._loop else 0

    def stop(self) -> None:
        """Ends the run after the step that is being made, and saves; for listeners and threads."""
        self._is_stopped = True
        if self._loop is not None:
            self._loop.stop()

    def run(self) -> Result:
        """Trains to the end of the horizon.

        Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 end the run after the step that is being made, with a
        checkpoint; a second of the first two ends it at once. (Signals reach the main thread only.)

        Raises:
            FileNotFoundError: Data, tokenizer or checkpoint are not there.
            NonFiniteLossError: The loss is not a number any more.
            OSError: The disk is full; the checkpoints before are whole.
            ValueError: Anything wrong with the configuration, the data or the checkpoint; or
                another run is in the folder.
        """
        with naming_full_disk(self._run, "resume the run"), ExitStack() as held:
            loop = self._set_up(held)
            with interrupts(self.stop, self._interrupted), self._log(loop) as log:
                estimate = self._start(loop)
                if self._is_stopped:
                    loop.stop()
                try:
                    loop.run(log, estimate)
                finally:
                    plot(self._run)
        validation = loop.validation[1] if loop.validation else None
        checkpoint = loop.saved[1] if loop.saved else None
        return Result(loop.step, loop.is_finished, validation, checkpoint)

    def _interrupted(self, presses: int) -> None:
        self._tell(Interrupted(presses))

    # Setting up

    def _set_up(self, held: ExitStack) -> Loop:
        run = self.config.run
        is_new = not self._run.is_dir()
        if not is_new:
            held.enter_context(locked(self._run))
        checkpoint = self._checkpoint()
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        wait_briefly()
        self.device = runtime.choose_device(run.device)
        self.data = RunData.open(self.config.data, self._run / TOKENIZER_FOLDER)
        if run.sample_every and self.data.tokenizer is None:
            raise ValueError(
                f"sample_every={run.sample_every}: samples need a tokenizer; give one, or 0"
            )
        saved = SavedRun.read(checkpoint, self.config) if checkpoint else None
        # "auto" was settled when the run began.
        self.dtype = runtime.choose_dtype(saved.dtype if saved else run.dtype, self.device)
        self._is_compiled = runtime.wants_compile(run.compile, self.device)
        if saved is not None:
            self.data.check_resumed(saved.tokenizer)
            self._notes = saved.changes(self._machine(), self._val_content())
        self._dial: Dial = "cpu" if self.device.type == "cpu" else "gpu"
        if saved is not None:
            self._dial = saved.dial
        self.plan: Plan = plan(
            self.config.model,
            self.config.optimizer,
            self.config.schedule,
            self.data.n_vocab,
            dial=self._dial,
        )
        self.data.check(self.plan.model.vocab_size)
        length = self.plan.model.context_length
        self._loader = self.data.loader(
            self.config.data, self.plan.batch_size, length, run.seed, self.device
        )
        generator = torch.Generator().manual_seed(run.seed)
        self.model = Transformer(self.plan.model, device=self.device, generator=generator)
        self.optimizers = build_optimizers(self.model, self.plan.optimizer, ns_dtype=self.dtype)
        self._val_batches = self.data.val_batches(run.eval_tokens, self.plan.batch_size, length)
        self._token_bytes = self.data.token_bytes(self.plan.model.vocab_size)
        loop = self._make_loop()
        rows = run.micro_batch_size or (saved.micro_batch_size if saved else self._default_rows())
        if checkpoint is None or saved is None:
            torch.manual_seed(run.seed)
        else:
            self._load(loop, checkpoint, saved)
        self._micro = MicroBatches(
            torch.compile(self._loss_sum, dynamic=False) if self._is_compiled else self._loss_sum,
            self.model,
            min(rows, self.plan.batch_size),
            lambda rows: self._tell(MemoryRanOut(loop.step + 1, rows)),
            loop.on_rows,
        )
        self._loop = loop
        # Only now, when nothing is wrong with the arguments, is anything written.
        self._run.mkdir(parents=True, exist_ok=True)
        if is_new:
            held.enter_context(locked(self._run))
            if self._checkpoint() is not None:  # another run came and went meanwhile
                raise ValueError(f"{self._run}: another run has begun here; resume once more")
        self._store.clean()
        self.config.placed().save(self._run / CONFIG)
        if self.data.tokenizer is not None:
            self.data.tokenizer.save(self._run / TOKENIZER_FOLDER)
        return loop

    def _checkpoint(self) -> Checkpoint | None:
        """Where to go on from."""
        last = self._store.last()
        if last is None:
            check_free(self.config.run.out)
        if last is None or self._resume:
            return last
        raise ValueError(
            f"out={self.config.run.out!r}: there is a run in this folder already, at step "
            f"{last.step}; resume it, or choose another folder"
        )

    def _make_loop(self) -> Loop:
        run, minutes = self.config.run, self.config.schedule.minutes
        every = Every(run.log_every, run.eval_every, run.sample_every, run.checkpoint_every)
        # Forward alone is a third of forward and backward.
        in_steps = sum(x.size for x, _ in self._val_batches) / self.plan.tokens_per_step / 3
        pace = Pace(
            self.plan.steps,
            self.plan.tokens_per_step,
            every.pauses(in_steps),
            None if minutes is None else 60 * minutes,
        )
        return Loop(
            self,
            self.model,
            self.optimizers,
            self.plan.schedule,
            pace,
            every,
            grad_clip=self.plan.optimizer.grad_clip,
            flops_per_token=self.plan.flops_per_token,
            peak_flops=runtime.peak_flops(self.device, self.dtype),
            tell=self._tell,
        )

    def _load(self, loop: Loop, checkpoint: Checkpoint, saved: SavedRun) -> None:
        """Takes the checkpoint's state."""
        self._loader.load_state_dict(saved.loader)
        loop.pace.load_state_dict(saved.pace, checkpoint.step)
        checkpoint.load(self.model, self.optimizers)
        loop.window, loop.best = saved.window, saved.best_val_loss
        loop.saved = checkpoint.step, checkpoint.path

    def _default_rows(self) -> int:
        """Rows that fit into memory at a time."""
        length = self.plan.model.context_length
        by_flops = int(_CPU_FLOPS / (self.plan.flops_per_token * length))
        most = min(_CPU_TOKENS // length, by_flops)
        if self.device.type == "cuda":
            most = largest_batch(
                self.plan.model,
                torch.cuda.get_device_properties(self.device).total_memory,
                optimizer=self.plan.optimizer.kind,
                dtype="float32" if self.dtype == torch.float32 else "bfloat16",
            )
        return default_rows(self.plan.batch_size, max(most, 1))

    def _start(self, loop: Loop) -> float:
        """Tells what is to be done; returns how many seconds it is expected to take."""
        flops = self.plan.tokens_per_step * self.plan.flops_per_token
        seconds = loop.pace.seconds_at(flops / runtime.training_flops(self.device, self.dtype))
        epochs = self.plan.tokens / len(self.data.train)
        self._tell(
            Started(
                plan=self.plan,
                step=loop.step,
                rates=peak_rates(self.optimizers),
                seconds=seconds,
                epochs=epochs,
                device=runtime.device_name(self.device),
                dtype=str(self.dtype).removeprefix("torch."),
                is_compiled=self._is_compiled,
                micro_batch_size=self._micro.rows,
                train_tokens=len(self.data.train),
                val_tokens=len(self.data.val) if self.data.val else 0,
            )
        )
        for note in self._notes:
            self._tell(Warned(note))
        if self.data.val is None:
            self._tell(Warned("there are no validation tokens: nothing is validated"))
        if epochs > _MOST_EPOCHS:
            self._tell(
                Warned(
                    f"the data is read {epochs:,.1f} times over, and more than {_MOST_EPOCHS:g} "
                    "times teach little; use more text or fewer steps"
                )
            )
        if seconds > DAY:
            self._tell(Warned(too_long(seconds)))
        return seconds

    # What the loop calls

    def gradients(self) -> Tensor:
        """As `bytemill.lm.train.loop.Work` says."""
        return self._micro.gradients(*self._loader.next_batch())

    def validate(self) -> Validation | None:
        """As `bytemill.lm.train.loop.Work` says."""
        return self._validate(self._val_batches) if self._val_batches else None

    def _validate(self, batches: Batches) -> Validation:
        found = validate(
            self.model.eval(),
            batches,
            self._token_bytes,
            device=self.device,
            computing=lambda: runtime.autocast(self.device, self.dtype),
            rows=self._micro.rows,
        )
        self.model.train()
        return found

    def sample(self) -> str:
        """What the model writes, and what it was given to begin with."""
        tokenizer, run = self.data.tokenizer, self.config.run
        if tokenizer is None:  # refused when the run was set up
            return ""
        text = stream_text(
            self.model.eval(),
            tokenizer,
            tokenizer.encode(run.sample_prompt) or [self.data.first_id(self.config.data)],
            max_new_tokens=run.sample_tokens,
            seed=run.seed,
            overflow="slide",
        )
        written = run.sample_prompt + "".join(text)
        self.model.train()
        return written

    def save(self, metrics: dict[str, float]) -> Path:
        """As `bytemill.lm.train.loop.Work` says."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("the run has not begun; call run()")
        if not self._val_batches:  # or else the loop has validated, and looked at the loss
            length = self.plan.model.context_length
            tried = self._validate(fixed_batches(self.data.train, length, 1, length))
            if not math.isfinite(tried.loss):
                raise NonFiniteStateError(f"the loss of the weights to be saved is {tried.loss}")
        saved = SavedRun(
            self._loader.state_dict(),
            self._micro.rows,
            loop.window,
            loop.best,
            self._dial,
            loop.pace.state_dict(),
            self.data.tokenizer.fingerprint if self.data.tokenizer else None,
            self._val_content(),
            "float32" if self.dtype == torch.float32 else "bfloat16",
            self._machine(),
        )
        return self._store.save(
            loop.step,
            self.model,
            self.optimizers,
            model_config=self.plan.model.to_dict(),
            metrics=metrics,
            extra=saved.to_dict(self.config),
        )

    def _val_content(self) -> str | None:
        return self.data.val.content if self.data.val else None

    def _machine(self) -> str:
        """What rounding depends on, besides the dtype."""
        threads = f"{torch.get_num_threads()} threads, " if self.device.type == "cpu" else ""
        compiled = ", compiled" if self._is_compiled else ""
        return f"{runtime.device_name(self.device)}, {threads}torch {torch.__version__}{compiled}"

    def _loss_sum(self, ids: Tensor, targets: Tensor) -> Tensor:
        with runtime.autocast(self.device, self.dtype):
            return self.model.loss(ids, targets, reduction="sum")

    @contextmanager
    def _log(self, loop: Loop) -> Iterator[metrics.MetricsLog]:
        run = self.config.run
        with metrics.MetricsLog(
            self._run,
            resume_at=loop.step if loop.step else None,
            wandb=run.wandb,
            tensorboard=run.tensorboard,
            config=self.config.to_dict(),
        ) as log:
            yield log


def _ignore(event: Event) -> None:
    pass
