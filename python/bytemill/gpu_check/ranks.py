"""Two processes against one: the same losses, with NCCL on two GPUs, or with gloo on a CPU."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist

from bytemill.gpu_check.results import Row
from bytemill.gpu_check.sizes import Sizes
from bytemill.lm.device import runtime
from bytemill.lm.distributed.group import joined
from bytemill.lm.distributed.layout import SHARDS, Shard
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from bytemill.lm.train.events import Event, Stepped
from bytemill.lm.train.fit import fit
from bytemill.lm.train.loop import Loop
from bytemill.lm.train.steps.world import ALONE, World

RANKS: Final = 2
_ROWS: Final = 8
_LEAST_FALL: Final = 0.05
_APART: Final = {"cpu": 1e-5, "cuda": 1e-4}
"""What losses may differ by: they are rounded otherwise, on GPUs in each product, too."""
_SECONDS: Final = 540.0


def checks(device: torch.device, sizes: Sizes) -> dict[str, Callable[[], Row]]:
    """By name, each way to share a model out."""
    names = {f"2 ranks, {shard}": shard for shard in SHARDS}
    return {
        name: functools.partial(equal_losses, name, device, sizes.equal_steps, shard)
        for name, shard in names.items()
    }


def equal_losses(name: str, device: torch.device, steps: int, shard: Shard) -> Row:
    """Losses of two ranks against those of one process; not run where there are no two devices."""
    if (missing := _missing(device)) is not None:
        return Row(name, f"not run: {missing}")
    alone, seconds_alone = train(device, steps, shard)
    found, seconds = _on_two(device, steps, shard)
    apart = max(abs(a - b) for a, b in zip(found, alone, strict=True))
    fall = alone[0] - alone[-1]
    backend = "gloo" if device.type == "cpu" else "NCCL"
    text = f"{backend}: losses of {steps} steps within {apart:.1e}, falling by {fall:.2f}"
    figures = {
        "apart": apart, "fall": fall, "steps": steps, "shard": shard,
        "seconds": seconds, "seconds_alone": seconds_alone,
    }  # fmt: skip
    good = len(found) == steps and apart <= _APART[device.type] and fall >= _LEAST_FALL
    return Row(name, text, good, figures)


def _missing(device: torch.device) -> str | None:
    """What two ranks lack on this kind of device."""
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        return f"{runtime.device_name(device)} is not shared by processes"
    n = torch.cuda.device_count()
    return None if n >= RANKS else f"there is {n} GPU, and each rank needs its own"


def train(
    device: torch.device, steps: int, shard: Shard, world: World = ALONE
) -> tuple[list[float], float]:
    """The losses of a small model's steps in fp32, and the seconds that they took after the
    first."""
    config = ModelConfig.preset(
        "gpt", vocab_size=256, context_length=64, d_model=64, n_layer=2, n_head=2
    )
    model = Transformer(config, device=device, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    # Ids that follow each other, so that there is something to learn.
    starts = torch.randint(256, (4, _ROWS, 1), generator=generator)
    ids = (starts + 3 * torch.arange(65)) % 256
    batches = [(batch[:, :-1].contiguous(), batch[:, 1:].contiguous()) for batch in ids]
    losses: list[float] = []
    times: list[float] = []

    def listen(_: Loop, event: Event) -> None:
        if isinstance(event, Stepped):
            losses.append(event.loss)
            times.append(time.perf_counter())

    fit(
        model,
        batches,
        lambda one, batch: one.loss(*batch),  # type: ignore[operator]
        build_optimizers(model, OptimConfig(ns_steps=5), ns_dtype=torch.float32),
        steps,
        grad_clip=1.0,
        callbacks=[listen],
        world=world,
        shard=shard,
    )
    return losses, times[-1] - times[0] if times else 0.0


def _on_two(device: torch.device, steps: int, shard: Shard) -> tuple[list[float], float]:
    """What `train` gives on rank 0 of two.

    Raises:
        RuntimeError: A rank has failed, and has told of it, or takes too long.
    """
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    common = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(RANKS),
        "LOCAL_WORLD_SIZE": str(RANKS), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "found.json")
        processes = []
        for rank in range(RANKS):
            own = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            args = own, device.type, steps, shard, out
            processes.append(context.Process(target=_rank, args=args, daemon=True))
        try:
            for process in processes:
                process.start()
            end = time.monotonic() + _SECONDS
            for process in processes:
                process.join(max(end - time.monotonic(), 0.0))
            codes = [process.exitcode for process in processes]
        finally:
            for process in processes:
                process.kill()
        if any(codes) or not out.exists():
            raise RuntimeError(f"the ranks ended with status {codes} (None: after {_SECONDS:g} s)")
        found = json.loads(out.read_text())
    return found["losses"], found["seconds"]


def _rank(environment: dict[str, str], kind: str, steps: int, shard: Shard, out: Path) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    rank = int(environment["RANK"])
    device = torch.device("cpu") if kind == "cpu" else torch.device("cuda", rank)
    with joined(device) as group:
        world: Any = Ranks(group)
        losses, seconds = train(device, steps, shard, world)
        if group.is_first:
            out.write_text(json.dumps({"losses": losses, "seconds": seconds}))
