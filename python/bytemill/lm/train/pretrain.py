"""`Trainer`: a training run from a configuration, which can be stopped at any time and go on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from bytemill.files import naming_full_disk
from bytemill.folder_lock import locked
from bytemill.lm.batches.loaders import fixed_batches
from bytemill.lm.checkpoint.background import Writer, written
from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER
from bytemill.lm.checkpoint.state import NonFiniteStateError
from bytemill.lm.checkpoint.store import Checkpoint, CheckpointStore
from bytemill.lm.device import runtime
from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.evaluate.validation import Batches, Validation
from bytemill.lm.model.fp8 import use_fp8
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import build_optimizers, peak_rates
from bytemill.lm.train import metrics
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.events import Interrupted, Listener, Warned, ignore
from bytemill.lm.train.forward import Forward
from bytemill.lm.train.interrupts import interrupts
from bytemill.lm.train.loop import Loop, NonFiniteLossError
from bytemill.lm.train.plan import Dial, Plan, plan
from bytemill.lm.train.plot import plot
from bytemill.lm.train.run_data import RunData
from bytemill.lm.train.saved_run import CONFIG, SavedRun, check_free, configuration_of
from bytemill.lm.train.start.facts import facts_of
from bytemill.lm.train.start.machine import machine, peak_flops, settled_dtype
from bytemill.lm.train.start.memory import rows_that_fit
from bytemill.lm.train.start.other_run import (
    checkpoint_to_begin_from,
    said_of_beginning,
    said_of_steps,
)
from bytemill.lm.train.start.sharding import check_shard
from bytemill.lm.train.start.started import Started, warnings
from bytemill.lm.train.steps.average import Average
from bytemill.lm.train.steps.hooks import Hooks
from bytemill.lm.train.steps.objective import NextToken
from bytemill.lm.train.steps.pace import Every, Pace
from bytemill.lm.train.steps.recompute import recompute
from bytemill.lm.train.steps.world import ALONE, World

__all__ = ["CONFIG", "NonFiniteLossError", "Result", "Trainer"]


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
        world: The ranks that train together; the one that leads writes and tells.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        on_event: Listener = ignore,
        resume: bool = False,
        world: World = ALONE,
    ) -> None:
        self.config, self.world = config, world
        self._tell = on_event if world.leads else ignore
        self._resume = resume
        self._run = Path(config.run.out)
        self._store = CheckpointStore(self._run, config.run.keep_last)
        self._writer = Writer(self._store)
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
            dtype = settled_dtype(self.config.run.dtype, self.world)
            with self.world.together():
                loop = self._set_up(held, dtype)
            last = loop.saved[1] if loop.saved else None
            self.world.agree(facts_of(self.config, self.data, last, self.device, self.dtype))
            with self.world.together():
                self._open_folder(held)
            with interrupts(self.stop, self._interrupted), self._log(loop) as log:
                estimate = self._start(loop)
                if self._is_stopped:
                    loop.stop()
                try:
                    loop.run(log, estimate)
                finally:
                    if self.world.leads:
                        plot(self._run)
        validation = loop.validation[1] if loop.validation else None
        checkpoint = loop.saved[1] if loop.saved else None
        return Result(loop.step, loop.is_finished, validation, checkpoint)

    def _interrupted(self, presses: int) -> None:
        self._tell(Interrupted(presses))

    # Setting up

    def _set_up(self, held: ExitStack, dtype: str) -> Loop:
        run = self.config.run
        self._is_new = not self._run.is_dir()
        if not self._is_new and self.world.leads:
            held.enter_context(locked(self._run))
        checkpoint = self._checkpoint()
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        wait_briefly()
        self.device = self.world.device or runtime.choose_device(run.device)
        self.data = RunData.open(self.config.data, self._run / TOKENIZER_FOLDER)
        saved = SavedRun.read(checkpoint, self.config) if checkpoint else None
        # "auto" was settled when the run began.
        self.dtype = runtime.choose_dtype(saved.dtype if saved else dtype, self.device)
        check_shard(run, self.world.size)
        is_whole = run.shard == "zero2" or self.world.size == 1
        self._is_compiled = is_whole and runtime.wants_compile(run.compile, self.device)
        self._machine = machine(self.device, self._is_compiled, self.world.size)
        if saved is not None:
            self.data.check_resumed(saved.tokenizer)
            self._notes = saved.changes(self._machine, self._val_content())
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
        generator = torch.Generator().manual_seed(run.seed)
        self.model = Transformer(self.plan.model, device=self.device, generator=generator)
        if run.fp8:
            use_fp8(self.model, self.device)
        self.optimizers = build_optimizers(self.model, self.plan.optimizer, ns_dtype=self.dtype)
        self.world.prepare(self.model, self.optimizers, self.plan.batch_size, run.shard)
        self._val_batches = self.data.val_batches(run.eval_tokens, self.plan.batch_size, length)
        self._average = Average(self.model, run.ema) if run.ema is not None else None
        self._forward = Forward(
            self.model, self.data, self.config, self.device, self.dtype, self._average, self.world
        )
        if run.recompute:
            recompute(self.model.layers)
        loop = self._make_loop(saved)
        if checkpoint is None or saved is None:
            torch.manual_seed(run.seed)
            self._begin()
        else:
            self._notes += self._other_steps(checkpoint)
            self._load(loop, checkpoint, saved)
        self._loop = loop
        return loop

    def _open_folder(self, held: ExitStack) -> None:
        """Writes what a run begins with; only now, when nothing is wrong with the arguments."""
        if not self.world.leads:
            return
        self._run.mkdir(parents=True, exist_ok=True)
        if self._is_new:
            held.enter_context(locked(self._run))
            if self._checkpoint() is not None:  # another run came and went meanwhile
                raise ValueError(f"{self._run}: another run has begun here; resume once more")
        self._store.clean()
        self.config.placed().save(self._run / CONFIG)
        if self.data.tokenizer is not None:
            self.data.tokenizer.save(self._run / TOKENIZER_FOLDER)

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

    def _make_loop(self, saved: SavedRun | None) -> Loop:
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
        loss_sum = self._forward.loss_sum
        if self._is_compiled:
            loss_sum = torch.compile(loss_sum, dynamic=False)
        length = self.plan.model.context_length
        source = self.data.loader(
            self.config.data, self.plan.batch_size, length, run.seed, self.device
        )
        rows = run.micro_batch_size or (
            saved.rows
            if saved
            else rows_that_fit(self.plan, self.device, self.dtype, self.world.size, run.shard)
        )
        return Loop(
            self.model,
            self.optimizers,
            source,
            NextToken(loss_sum),
            pace,
            every,
            schedule=self.plan.schedule,
            rows=min(rows, self.plan.batch_size),
            grad_clip=self.plan.grad_clip,
            flops_per_token=self.plan.flops_per_token,
            peak_flops=run.peak_flops * self.world.size
            if run.peak_flops
            else peak_flops(self.device, self.dtype, self.world.size),
            tell=self._tell,
            hooks=Hooks(self.validate, self._forward.sample, self.save),
            average=self._average,
            world=self.world,
        )

    def _begin(self) -> None:
        """Takes what the run is to begin with of another run."""
        path, optimizer = self.config.run.init_from, self.config.run.init_optimizer
        if path is None:
            if optimizer:
                raise ValueError("init_optimizer=True: it needs init_from, to say of which run")
            return
        found = checkpoint_to_begin_from(path, self.plan.model, self.data)
        self.world.begin(found, self.model, self.optimizers if optimizer else [])
        if self._average is not None:
            self._average.restart()
        self._notes = said_of_beginning(found, self.data, optimizer=optimizer)

    def _other_steps(self, checkpoint: Checkpoint) -> list[str]:
        """What is said if the run goes on for more or fewer steps than it was begun for."""
        begun = configuration_of(checkpoint)
        if begun is None:
            return []
        before = begun[0]
        old = plan(
            before.model, before.optimizer, before.schedule, self.data.n_vocab, dial=self._dial
        )
        return said_of_steps(old.schedule, self.plan.schedule, checkpoint.step)

    def _load(self, loop: Loop, checkpoint: Checkpoint, saved: SavedRun) -> None:
        """Takes the checkpoint's state."""
        try:
            loop.load_state_dict({**saved.loop, "rows": loop.rows}, checkpoint.step)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{checkpoint.path}: a training run cannot go on from it ({error!r})"
            ) from None
        self.world.load(checkpoint, self.model, self.optimizers)
        if self._average is not None:
            self._average.load(checkpoint)
        loop.saved = checkpoint.step, checkpoint.path

    def _start(self, loop: Loop) -> float:
        """Tells what is to be done; returns how many seconds it is expected to take."""
        flops = self.plan.tokens_per_step * self.plan.flops_per_token
        speed = self.world.size * runtime.training_flops(self.device, self.dtype)
        seconds = loop.pace.seconds_at(flops / speed)
        started = Started(
            plan=self.plan,
            step=loop.step,
            rates=peak_rates(self.optimizers),
            seconds=seconds,
            epochs=self.plan.tokens / len(self.data.train),
            device=runtime.device_name(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            is_compiled=self._is_compiled,
            micro_batch_size=loop.rows or self.plan.batch_size,
            train_tokens=len(self.data.train),
            val_tokens=len(self.data.val) if self.data.val else 0,
        )
        self._tell(started)
        for note in (*self._notes, *warnings(started)):
            self._tell(Warned(note))
        return seconds

    # What the loop calls

    def validate(self) -> Validation | None:
        """As `bytemill.lm.train.steps.hooks.Hooks` says."""
        return self._validate(self._val_batches) if self._val_batches else None

    def _validate(self, batches: Batches) -> Validation:
        rows = self._loop.rows if self._loop else None
        return self._forward.validate(batches, rows or self.plan.batch_size)

    def save(self, metrics: dict[str, float]) -> Future[Path]:
        """As `bytemill.lm.train.steps.hooks.Hooks` says."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("the run has not begun; call run()")
        if not self._val_batches:  # or else the loop has validated, and looked at the loss
            length = self.plan.model.context_length
            tried = self._validate(fixed_batches(self.data.train, length, 1, length))
            if not math.isfinite(tried.loss):
                raise NonFiniteStateError(f"the loss of the weights to be saved is {tried.loss}")
        saved = SavedRun(
            loop.state_dict(),
            self._dial,
            self.data.tokenizer.fingerprint if self.data.tokenizer else None,
            self._val_content(),
            "float32" if self.dtype == torch.float32 else "bfloat16",
            self._machine,
        )
        snapshot = self.world.snapshot(self.model, self.optimizers)
        if not self.world.leads:
            return written(self._store.path(loop.step))
        if self._average is not None:
            snapshot = self._average.into(snapshot)
        return self._writer.write(
            loop.step,
            snapshot,
            model_config=self.plan.model.to_dict(),
            metrics=metrics,
            extra=saved.to_dict(self.config),
        )

    def _val_content(self) -> str | None:
        return self.data.val.content if self.data.val else None

    @contextmanager
    def _log(self, loop: Loop) -> Iterator[metrics.MetricsLog | None]:
        if not self.world.leads:
            yield None
            return
        run = self.config.run
        with metrics.MetricsLog(
            self._run,
            resume_at=loop.step if loop.step else None,
            wandb=run.wandb,
            tensorboard=run.tensorboard,
            config=self.config.to_dict(),
        ) as log:
            yield log
