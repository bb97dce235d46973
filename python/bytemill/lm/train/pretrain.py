"""`Trainer`: a training run from a configuration, which can be stopped at any time and go on."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER
from bytemill.lm.checkpoint.store import Checkpoint, CheckpointStore
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.validation import Validation, validate
from bytemill.lm.generate.text import stream_text
from bytemill.lm.model.accounting import largest_batch
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.groups import build_optimizers, set_learning_rates
from bytemill.lm.train import metrics
from bytemill.lm.train.accumulate import MicroBatches, default_rows
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.events import (
    Event,
    Listener,
    MemoryRanOut,
    Sampled,
    Saved,
    Started,
    Stepped,
    Validated,
    Warned,
)
from bytemill.lm.train.interrupts import interrupts
from bytemill.lm.train.plan import Plan, plan
from bytemill.lm.train.run_data import RunData
from bytemill.lm.train.saved_run import SavedRun

CONFIG: Final = "config.json"

_CPU_TOKENS: Final = 8192
_SPEED_STEPS: Final = 20


class NonFiniteLossError(ValueError):
    """The loss, or the gradients' norm, is no finite number.

    Attributes:
        step: The step that gave it, counted from 1.
        checkpoint: The last checkpoint, from before it; None if none was written.
    """

    def __init__(self, step: int, what: str, checkpoint: Path | None) -> None:
        self.step, self.checkpoint = step, checkpoint
        good = f"the last good checkpoint is {checkpoint}" if checkpoint else "none was saved"
        super().__init__(
            f"step {step}: {what}; {good}. Begin a new run with lower learning rates, a longer "
            'warm-up, a lower grad_clip, or dtype="float32"'
        )


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
    with the same bits as one that was not.

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
        self._run = Path(config.out)
        self._store = CheckpointStore(self._run, config.keep_last)
        self._is_stopped = False
        self.step = 0
        self._window: list[float] = [0.0, 0.0]
        self._last_validation: tuple[int, Validation] | None = None
        self._best = math.inf
        self._saved: Path | None = None

    def stop(self) -> None:
        """Ends the run after the step that is being made, and saves; for listeners and threads."""
        self._is_stopped = True

    def run(self) -> Result:
        """Trains to the end of the horizon.

        Ctrl-C and SIGTERM end the run after the step that is being made, with a checkpoint; a
        second one ends it at once. (Signals reach the main thread only.)

        Raises:
            FileNotFoundError: Data, tokenizer or checkpoint are not there.
            NonFiniteLossError: The loss is no number any more.
            OSError: The disk is full; the checkpoints before are whole.
            ValueError: Anything wrong with the configuration, the data or the checkpoint.
        """
        with _disk_full_named(self._run):
            self._set_up()
            with interrupts(self.stop), self._log():
                try:
                    self._train()
                finally:
                    metrics.plot(self._run)
        last = self._last_validation
        return Result(
            self.step, self.step == self.plan.steps, last[1] if last else None, self._saved
        )

    # Setting up

    def _set_up(self) -> None:
        config = self.config
        checkpoint = self._checkpoint()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.device = runtime.choose_device(config.device)
        self.dtype = runtime.choose_dtype(config.dtype, self.device)
        self.data = RunData.open(config)
        self.plan: Plan = plan(config, self.data.n_vocab)
        self.data.check(self.plan.model.vocab_size)
        self._loader = self.data.loader(config, self.plan.batch_size, self.device)
        generator = torch.Generator().manual_seed(config.seed)
        self.model = Transformer(self.plan.model, device=self.device, generator=generator)
        self.optimizers = build_optimizers(self.model, self.plan.optimizer, ns_dtype=self.dtype)
        rows = config.micro_batch_size or self._default_rows()
        if checkpoint is None:
            torch.manual_seed(config.seed)
        else:
            saved_rows = self._load(checkpoint)
            rows = config.micro_batch_size or saved_rows
        self._is_compiled = runtime.wants_compile(config.compile, self.device)
        self._micro = MicroBatches(
            torch.compile(self._loss_sum, dynamic=False) if self._is_compiled else self._loss_sum,
            self.model,
            min(rows, self.plan.batch_size),
            lambda rows: self._tell(MemoryRanOut(self.step + 1, rows)),
        )
        self._val_batches = self.data.val_batches(config, self.plan.batch_size)
        self._token_bytes = self.data.token_bytes(self.plan.model.vocab_size)
        self._peak = runtime.peak_flops(self.device, self.dtype)
        self._durations: list[float] = []
        # Only now, when nothing is wrong with the arguments, is anything written.
        self._run.mkdir(parents=True, exist_ok=True)
        self._store.clean()
        config.save(self._run / CONFIG)
        if self.data.tokenizer is not None:
            self.data.tokenizer.save(self._run / TOKENIZER_FOLDER)

    def _checkpoint(self) -> Checkpoint | None:
        """Where to go on from."""
        last = self._store.last()
        if last is None or self._resume:
            return last
        raise ValueError(
            f"out={self.config.out!r}: there is a run in this folder already, at step {last.step}; "
            "resume it, or choose another folder"
        )

    def _load(self, checkpoint: Checkpoint) -> int:
        """Takes the checkpoint's state; returns its rows in a micro-batch."""
        saved = SavedRun.read(checkpoint, self.config)
        checkpoint.load_weights(self.model)
        checkpoint.load_training(self.optimizers)
        self._loader.load_state_dict(saved.loader)
        self.step, self._window, self._best = checkpoint.step, saved.window, saved.best_val_loss
        self._saved = checkpoint.path
        return saved.micro_batch_size

    def _default_rows(self) -> int:
        """Rows that fit into memory at a time."""
        length = self.plan.model.context_length
        most = max(1, _CPU_TOKENS // length)
        if self.device.type == "cuda":
            most = largest_batch(
                self.plan.model,
                torch.cuda.get_device_properties(self.device).total_memory,
                optimizer=self.config.optimizer,
                dtype="float32" if self.dtype == torch.float32 else "bfloat16",
            )
        return default_rows(self.plan.batch_size, max(most, 1))

    # Training

    def _loss_sum(self, ids: Tensor, targets: Tensor) -> Tensor:
        with runtime.autocast(self.device, self.dtype):
            return self.model.loss(ids, targets, reduction="sum")

    def _train(self) -> None:
        config = self.config
        self._start()
        while self.step < self.plan.steps:
            if self._is_stopped:
                self._save()
                return
            self._one_step()
            is_last = self.step == self.plan.steps
            wants_save = is_last or _is_due(self.step, config.checkpoint_every)
            # A checkpoint has the validation of its own step, by which the best one is found.
            if is_last or wants_save or _is_due(self.step, config.eval_every):
                self._validate()
            if _is_due(self.step, config.sample_every):
                self._tell(Sampled(self.step, self._sample()))
            if wants_save:
                self._save()

    def _start(self) -> None:
        self._tell(
            Started(
                plan=self.plan,
                step=self.step,
                device=runtime.device_name(self.device),
                dtype=str(self.dtype).removeprefix("torch."),
                is_compiled=self._is_compiled,
                micro_batch_size=self._micro.rows,
                train_tokens=len(self.data.train),
                val_tokens=len(self.data.val) if self.data.val else 0,
            )
        )
        if self.data.val is None:
            self._tell(Warned("there are no validation tokens: nothing is validated"))

    def _one_step(self) -> None:
        began = time.perf_counter()
        multiplier = self.plan.schedule.multiplier(self.step)
        set_learning_rates(self.optimizers, multiplier)
        x, y = self._loader.next_batch()
        loss = self._micro.gradients(x, y)
        clip = self.config.grad_clip
        norm = clip_gradients(self.model.parameters(), math.inf if clip is None else clip)
        for optimizer in self.optimizers:
            optimizer.step()
        # The one point of a step that waits for the device.
        loss_value, norm_value = torch.stack([loss, norm.to(loss.device)]).tolist()
        if not math.isfinite(loss_value) or not math.isfinite(norm_value):
            what = f"the loss is {loss_value}"
            if math.isfinite(loss_value):
                what = f"the gradients' norm is {norm_value}"
            raise NonFiniteLossError(self.step + 1, what, self._saved)
        self.step += 1
        self._report(loss_value, norm_value, multiplier, time.perf_counter() - began)

    def _report(self, loss: float, norm: float, multiplier: float, seconds: float) -> None:
        self._durations = [*self._durations[1 - _SPEED_STEPS :], seconds]
        per_step = sorted(self._durations)[len(self._durations) // 2]
        speed = self.plan.tokens_per_step / per_step
        mfu = speed * self.plan.flops_per_token / self._peak if self._peak else None
        tokens = self.step * self.plan.tokens_per_step
        left = (self.plan.steps - self.step) * per_step
        event = Stepped(
            self.step, self.plan.steps, loss, norm, multiplier, tokens, speed, mfu, left
        )
        self._window = [self._window[0] + loss, self._window[1] + 1]
        if self.step % self.config.log_every == 0 or self.step == self.plan.steps:
            figures = {
                "tokens": tokens,
                "loss": self._window[0] / self._window[1],
                "grad_norm": norm,
                "lr_multiplier": multiplier,
                "tokens_per_second": round(speed),
            }
            self._metrics.log(self.step, figures if mfu is None else {**figures, "mfu": mfu})
            self._window = [0.0, 0.0]
        self._tell(event)

    def _validate(self) -> None:
        if not self._val_batches:
            return
        found = validate(
            self.model.eval(),
            self._val_batches,
            self._token_bytes,
            device=self.device,
            computing=lambda: runtime.autocast(self.device, self.dtype),
            rows=self._micro.rows,
        )
        self.model.train()
        is_best = found.loss < self._best
        self._best = min(self._best, found.loss)
        self._last_validation = self.step, found
        figures = {"tokens": self.step * self.plan.tokens_per_step, "val_loss": found.loss}
        if found.bits_per_byte is not None:
            figures["val_bpb"] = found.bits_per_byte
        self._metrics.log(self.step, figures)
        self._tell(Validated(self.step, found.loss, found.bits_per_byte, is_best))

    def _sample(self) -> str:
        """What the model writes, and what it was given to begin with."""
        tokenizer, config = self.data.tokenizer, self.config
        if tokenizer is None:  # refused when the data was opened
            return ""
        text = stream_text(
            self.model.eval(),
            tokenizer,
            tokenizer.encode(config.sample_prompt) or [self.data.first_id(config)],
            max_new_tokens=config.sample_tokens,
            seed=config.seed,
            overflow="slide",
        )
        written = config.sample_prompt + "".join(text)
        self.model.train()
        return written

    def _save(self) -> None:
        if self._saved == self._store.path(self.step):
            return
        figures: dict[str, float] = {}
        if self._last_validation and self._last_validation[0] == self.step:
            found = self._last_validation[1]
            figures["val_loss"] = found.loss
            if found.bits_per_byte is not None:
                figures["val_bpb"] = found.bits_per_byte
        run = SavedRun(self._loader.state_dict(), self._micro.rows, self._window, self._best)
        self._saved = self._store.save(
            self.step,
            self.model,
            self.optimizers,
            model_config=self.plan.model.to_dict(),
            metrics=figures,
            extra=run.to_dict(self.config),
        )
        self._tell(Saved(self.step, self._saved))

    @contextmanager
    def _log(self) -> Iterator[None]:
        with metrics.MetricsLog(
            self._run,
            resume_at=self.step if self.step else None,
            wandb=self.config.wandb,
            tensorboard=self.config.tensorboard,
            config=self.config.to_dict(),
        ) as self._metrics:
            yield


def _ignore(event: Event) -> None:
    pass


@contextmanager
def _disk_full_named(run: Path) -> Iterator[None]:
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in full:
            raise
        message = f"{os.strerror(error.errno)}; make room and resume the run"
        raise OSError(error.errno, message, error.filename or str(run)) from error


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
