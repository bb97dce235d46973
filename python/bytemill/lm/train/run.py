"""`Run`: a training run in a folder, which can be stopped at any time and go on.

`Trainer` (pretraining) and the stages after it (`bytemill.lm.stages`) say what they read, which
model they train and what they make small; folder, lock, checkpoints, signals, ranks and the state
that decides the next bit are the same for all, and here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch.optim import Optimizer

from bytemill.files import naming_full_disk
from bytemill.lm.checkpoint.background import Writer, written
from bytemill.lm.checkpoint.state import NonFiniteStateError
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.device import runtime
from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.evaluate.validation import Batches, Validation
from bytemill.lm.model.fp8 import use_fp8
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import build_optimizers
from bytemill.lm.train import metrics
from bytemill.lm.train.config import RunTree
from bytemill.lm.train.events import Event, Interrupted, Listener, Warned, ignore
from bytemill.lm.train.forward import Forward, Read
from bytemill.lm.train.interrupts import interrupts
from bytemill.lm.train.loop import Loop
from bytemill.lm.train.plan import Dial, Plan
from bytemill.lm.train.plot import plot
from bytemill.lm.train.saved_run import SavedRun
from bytemill.lm.train.start.facts import facts_of
from bytemill.lm.train.start.folder import RunFolder
from bytemill.lm.train.start.machine import machine, peak_flops, settled_dtype
from bytemill.lm.train.start.memory import rows_that_fit
from bytemill.lm.train.start.sharding import check_shard
from bytemill.lm.train.steps.average import Average
from bytemill.lm.train.steps.hooks import Hooks
from bytemill.lm.train.steps.objective import NextToken, Objective
from bytemill.lm.train.steps.pace import Every, Pace
from bytemill.lm.train.steps.recompute import recompute
from bytemill.lm.train.steps.source import Source
from bytemill.lm.train.steps.world import ALONE, World

C = TypeVar("C", bound=RunTree)


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


class Run(ABC, Generic[C]):
    """Trains as a configuration says, into the folder that it names.

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

    can_share_weights: ClassVar[bool] = False
    """Whether it needs no process to have all of them, so that `shard` may be "fsdp"."""
    plan: Plan
    model: Transformer
    optimizers: list[Optimizer]
    device: torch.device
    dtype: torch.dtype

    def __init__(
        self,
        config: C,
        *,
        on_event: Listener = ignore,
        resume: bool = False,
        world: World = ALONE,
    ) -> None:
        self.config, self.world = config, world
        self._tell = on_event if world.leads else ignore
        self._folder = RunFolder(config.run.out, config.run.keep_last, resume=resume)
        self._writer = Writer(self._folder.store)
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
        with naming_full_disk(self._folder.path, "resume the run"), ExitStack() as held:
            dtype = settled_dtype(self.config.run.dtype, self.world)
            with self.world.together():
                loop = self._set_up(held, dtype)
            last = loop.saved[1] if loop.saved else None
            known = facts_of(self.config, self._contents(), last, self.device, self.dtype)
            self.world.agree(known)
            with self.world.together():
                if self.world.leads:
                    self._folder.begin(held, self.config, self._read.tokenizer)
            with interrupts(self.stop, self._interrupted), self._log(loop) as log:
                estimate = self._start(loop)
                if self._is_stopped:
                    loop.stop()
                try:
                    loop.run(log, estimate)
                finally:
                    if self.world.leads:
                        plot(self._folder.path)
        validation = loop.validation[1] if loop.validation else None
        checkpoint = loop.saved[1] if loop.saved else None
        return Result(loop.step, loop.is_finished, validation, checkpoint)

    def _interrupted(self, presses: int) -> None:
        self._tell(Interrupted(presses))

    # What a kind of run says of itself

    @property
    @abstractmethod
    def _read(self) -> Read:
        """What it reads, once `_open` has opened it."""

    @abstractmethod
    def _open(self, checkpoint: Checkpoint | None) -> None:
        """Opens what it reads; `checkpoint` is where it goes on from."""

    @abstractmethod
    def _planned(self, saved: SavedRun | None) -> Plan:
        """Settles what the configuration leaves open, and checks that model and data match."""

    @abstractmethod
    def _source(self) -> Source:
        """Its batches."""

    @abstractmethod
    def _validation_batches(self) -> Batches:
        """What it is validated on; nothing if that is empty."""

    @abstractmethod
    def _begin(self) -> None:
        """Takes what a new run begins with of another one."""

    @abstractmethod
    def _contents(self) -> dict[str, Any]:
        """What it reads, by name, for ranks to agree on."""

    @abstractmethod
    def _started(self, loop: Loop, seconds: float) -> tuple[Event, list[str]]:
        """What is told before the first step, and what a person may want to know; `seconds` is
        how long it is expected to take."""

    def _val_content(self) -> str | None:
        """What stands for the validation data; None without any."""
        return None

    def _make_model(self) -> Transformer:
        generator = torch.Generator().manual_seed(self.config.run.seed)
        return Transformer(self.plan.model, device=self.device, generator=generator)

    def _make_optimizers(self) -> list[Optimizer]:
        return build_optimizers(self.model, self.plan.optimizer, ns_dtype=self.dtype)

    def _make_forward(self) -> Forward:
        where = self.device, self.dtype, self._average, self.world
        return Forward(self.model, self._read, self.config.run, *where)

    def _objective(self) -> Objective:
        """What is made small."""
        return NextToken(self._loss_sum())

    def _tried_batches(self) -> Batches:
        """What shows that weights which nothing validates are finite, before they are saved."""
        return []

    def _to_keep(self) -> dict[str, Any]:
        """What else a checkpoint keeps, as JSON data; `SavedRun.more` when the run goes on."""
        return {}

    def _other_steps(self, checkpoint: Checkpoint) -> list[str]:
        """What is said if the run goes on for more or fewer steps than it was begun for."""
        return []

    # Setting up

    def _set_up(self, held: ExitStack, dtype: str) -> Loop:
        run = self.config.run
        checkpoint = self._folder.enter(held, leads=self.world.leads)
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        wait_briefly()
        self.device = self.world.device or runtime.choose_device(run.device)
        self._open(checkpoint)
        saved = SavedRun.read(checkpoint, self.config) if checkpoint else None
        # "auto" was settled when the run began.
        self.dtype = runtime.choose_dtype(saved.dtype if saved else dtype, self.device)
        is_whole = check_shard(run, self.world.size, self.can_share_weights)
        self._is_compiled = is_whole and runtime.wants_compile(run.compile, self.device)
        self._machine = machine(self.device, self._is_compiled, self.world.size)
        if saved is not None:
            self._check_resumed(saved.tokenizer)
            self._notes = saved.changes(self._machine, self._val_content())
        self._dial: Dial = "cpu" if self.device.type == "cpu" else "gpu"
        if saved is not None:
            self._dial = saved.dial
        self.plan = self._planned(saved)
        self.model = self._make_model()
        if run.fp8:
            use_fp8(self.model, self.device)
        self.optimizers = self._make_optimizers()
        self.world.prepare(self.model, self.optimizers, self.plan.batch_size, run.shard)
        self._val_batches = self._validation_batches()
        self._average = Average(self.model, run.ema) if run.ema is not None else None
        self._forward = self._make_forward()
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

    def _check_resumed(self, fingerprint: str | None) -> None:
        """ValueError if a run that began with a tokenizer goes on with another."""
        own = self._read.tokenizer.fingerprint if self._read.tokenizer else None
        if fingerprint is not None and own != fingerprint:
            raise ValueError(
                f"the run began with the tokenizer of fingerprint {fingerprint}, and this one's is "
                f"{own}; put that one back, or begin a new run in another folder"
            )

    def _loss_sum(self) -> Any:
        """From ids and targets, (B, T) each, to their summed loss."""
        loss_sum = self._forward.loss_sum
        return torch.compile(loss_sum, dynamic=False) if self._is_compiled else loss_sum

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
        rows = run.micro_batch_size or (saved and saved.rows)
        if not rows:
            rows = rows_that_fit(self.plan, self.device, self.dtype, self.world.size, run.shard)
        return Loop(
            self.model,
            self.optimizers,
            self._source(),
            self._objective(),
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
            hooks=Hooks(self.validate, self._forward.sample, self.save, self._line_figures),
            average=self._average,
            world=self.world,
        )

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
        started, notes = self._started(loop, seconds)
        self._tell(started)
        for note in (*self._notes, *notes):
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
        # Or else the loop has validated, and looked at the loss.
        if not self._val_batches and (batches := self._tried_batches()):
            tried = self._validate(batches)
            if not math.isfinite(tried.loss):
                raise NonFiniteStateError(f"the loss of the weights to be saved is {tried.loss}")
        saved = SavedRun(
            loop.state_dict(),
            self._dial,
            self._read.tokenizer.fingerprint if self._read.tokenizer else None,
            self._val_content(),
            "float32" if self.dtype == torch.float32 else "bfloat16",
            self._machine,
            self._to_keep(),
        )
        snapshot = self.world.snapshot(self.model, self.optimizers)
        if not self.world.leads:
            return written(self._folder.store.path(loop.step))
        if self._average is not None:
            snapshot = self._average.into(snapshot)
        return self._writer.write(
            loop.step,
            snapshot,
            model_config=self.plan.model.to_dict(),
            metrics=metrics,
            extra=saved.to_dict(self.config),
        )

    def _line_figures(self) -> dict[str, float]:
        return {}  # as `Hooks.figures` says

    @contextmanager
    def _log(self, loop: Loop) -> Iterator[metrics.MetricsLog | None]:
        if not self.world.leads:
            yield None
            return
        run = self.config.run
        with metrics.MetricsLog(
            self._folder.path,
            resume_at=loop.step if loop.step else None,
            wandb=run.wandb,
            tensorboard=run.tensorboard,
            config=self.config.to_dict(),
        ) as log:
            yield log
