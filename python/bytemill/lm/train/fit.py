"""`fit`: a model, batches, a loss and an optimizer of one's own, with all that a run has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.files import naming_full_disk
from bytemill.folder_lock import locked
from bytemill.lm.checkpoint.background import Writer, written
from bytemill.lm.checkpoint.state import StrPath, as_list, digest
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.distributed.layout import Shard
from bytemill.lm.evaluate.validation import Validation
from bytemill.lm.optim.schedule import Rates
from bytemill.lm.train.events import Event, Interrupted
from bytemill.lm.train.interrupts import interrupts
from bytemill.lm.train.loop import Loop, name_groups
from bytemill.lm.train.metrics import MetricsLog
from bytemill.lm.train.plot import plot
from bytemill.lm.train.steps.average import Average
from bytemill.lm.train.steps.hooks import Hooks
from bytemill.lm.train.steps.objective import MeanOverRows, Objective
from bytemill.lm.train.steps.pace import Every, Pace
from bytemill.lm.train.steps.source import OnDevice, Source, as_source
from bytemill.lm.train.steps.world import ALONE, World

Callback: TypeAlias = Callable[[Loop, Event], None]


def fit(
    model: nn.Module,
    batches: Source | Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor] | Objective,
    optimizer: Optimizer | Sequence[Optimizer],
    steps: int,
    *,
    schedule: Rates | None = None,
    grad_clip: float | None = None,
    ema: float | None = None,
    rows: int | None = None,
    validate: Callable[[], float] | None = None,
    callbacks: Sequence[Callback] = (),
    out: StrPath | None = None,
    resume: bool = False,
    log_every: int = 10,
    eval_every: int = 0,
    checkpoint_every: int = 0,
    keep_last: int = 2,
    world: World = ALONE,
    shard: Shard = "zero2",
) -> Loop:
    """Trains any module; with `out`, into a folder like that of `Trainer`, to go on from.

    A run that was stopped or killed and goes on ends with the same bits as one that was not, if the
    model, the optimizer and the batches are made as they were then: weights, optimizer, torch's
    random generators and the place in the batches come from the last checkpoint. Ctrl-C, SIGTERM,
    SIGHUP and SIGUSR1 end a run after the step that is being made, with a checkpoint.

    Args:
        model: It is trained in place, on the device that its parameters are on.
        batches: Tensors whose first dimension is their rows, or tuples, lists or dicts of such. A
            list is begun again when it ends, as is an iterable with `state_dict` and
            `load_state_dict`; or what has `next_batch` besides these two (`Source`), whose
            `close()`, if it has one, is called when the run ends.
        loss: From the model and a batch to the mean loss over its rows; or an `Objective`, for
            means over what counts, such as targets that are not masked.
        optimizer: One, or several, over the model's parameters.
        steps: Of the whole run; a run that goes on may have more of them than it had.
        schedule: What rates are multiplied by at each step, such as
            `bytemill.lm.optim.schedule.Schedule`; None leaves them alone.
        grad_clip: The most norm of all gradients; None for none.
        ema: Decay of a moving average of the weights, which is then what is validated and what
            model.safetensors holds; None for none.
        rows: Rows of a batch that are computed at a time; None for all. It is halved when memory
            runs out.
        validate: A loss on what is not trained on; called in eval mode and without gradients.
        callbacks: Called with the loop and each event of `bytemill.lm.train.events`. They may look
            at and change the loop's `model`, `optimizers` and `batches`, and `stop()` it; what
            they raise ends the run.
        out: A folder for metrics.jsonl, loss.png and checkpoints/; None for none.
        resume: Go on from the last checkpoint in `out`, or from the beginning if there is none.
        log_every: Steps between lines of metrics.jsonl.
        eval_every: Steps between validations; 0: at the end only.
        checkpoint_every: Steps between checkpoints; 0: at the end only.
        keep_last: Checkpoints to keep, besides the best by validation.
        world: The ranks that train together.
        shard: What they share out: "zero2", gradients and optimizer states; "fsdp", weights too.

    Returns:
        The loop: its `step`, `is_finished`, `validation`, `saved`.

    Raises:
        NonFiniteLossError: The loss is not a number any more.
        OSError: The disk is full; the checkpoints before are whole.
        TypeError: There is no way to go on with such batches.
        ValueError: `out` holds a run and `resume` is False; or its checkpoint is damaged or of
            another model, optimizer or batches.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: it must be at least 1")
    wait_briefly()
    optimizers = as_list(optimizer)
    name_groups(optimizers)
    if world.size > 1:
        world.agree({"weights to begin with": digest(model.state_dict()), "steps": steps})
        if shard == "fsdp" and ema is not None:
            raise ValueError(f'ema={ema}: it does not go with shard="fsdp"; use "zero2"')
        world.prepare(model, optimizers, shard=shard)
    source = OnDevice(as_source(batches), next(model.parameters()).device)
    if hasattr(loss, "loss_sum"):
        objective = cast("Objective", loss)
    else:
        objective = MeanOverRows(lambda batch: loss(model, batch))

    def tell(event: Event) -> None:
        for callback in callbacks:
            callback(loop, event)

    average = None if ema is None else Average(model, ema)
    every = Every(log_every, eval_every, 0, checkpoint_every)
    # Of what its batches are is not known: speed and place are counted in steps.
    pace = Pace(steps, 1, every.pauses(1.0 if validate else 0.0))
    store = None if out is None else CheckpointStore(out, keep_last)
    save = None if store is None else _saver(Writer(store), world, lambda: loop)
    loop = Loop(
        model,
        optimizers,
        source,
        objective,
        pace,
        every,
        schedule=schedule,
        rows=rows,
        grad_clip=grad_clip,
        tell=tell,
        hooks=Hooks(validate=_validator(model, validate, average), save=save),
        average=average,
        world=world,
    )
    model.train()
    if store is None:
        with interrupts(loop.stop, lambda presses: loop.tell(Interrupted(presses))):
            loop.run()
        return loop
    run = store.folder.parent
    with naming_full_disk(run, "resume the run"), ExitStack() as held:
        if world.leads:
            run.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(run))
            store.clean()
        _go_on(loop, store, resume=resume)
        log = None
        if world.leads:
            log = held.enter_context(MetricsLog(run, resume_at=loop.step or None))
        with interrupts(loop.stop, lambda presses: loop.tell(Interrupted(presses))):
            try:
                loop.run(log)
            finally:
                if world.leads:
                    plot(run)
    return loop


def _go_on(loop: Loop, store: CheckpointStore, *, resume: bool) -> None:
    """Takes the last checkpoint's state, if there is one."""
    last = store.last()
    if last is None:
        return
    if not resume:
        raise ValueError(
            f"out={str(store.folder.parent)!r}: there is a run in this folder already, at step "
            f"{last.step}; resume it, or choose another folder"
        )
    try:
        state = last.extra["loop"]
        loop.load_state_dict(state, last.step)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{last.path}: this run cannot go on from it ({error!r})") from None
    loop.world.load(last, loop.model, loop.optimizers)
    if loop.average is not None:
        loop.average.load(last)
    loop.saved = last.step, last.path


def _saver(
    writer: Writer, world: World, loop: Callable[[], Loop]
) -> Callable[[dict[str, float]], Future[Path]]:
    def save(metrics: dict[str, float]) -> Future[Path]:
        one = loop()
        snapshot = world.snapshot(one.model, one.optimizers)
        if not world.leads:
            return written(writer.store.path(one.step))
        if one.average is not None:
            snapshot = one.average.into(snapshot)
        name = f"{type(one.model).__module__}.{type(one.model).__qualname__}"
        return writer.write(
            one.step,
            snapshot,
            model_config={"class": name},
            metrics=metrics,
            extra={"loop": one.state_dict()},
        )

    return save


def _validator(
    model: nn.Module, validate: Callable[[], float] | None, average: Average | None
) -> Callable[[], Validation] | None:
    if validate is None:
        return None

    def tried() -> Validation:
        model.eval()
        with average.applied() if average else nullcontext(), torch.inference_mode():
            found = Validation(float(validate()), None)
        model.train()
        return found

    return tried
