"""Is it right there? Compared with the CPU, with itself again, and with what must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from bytemill.gpu_check import models
from bytemill.gpu_check.results import Row, limited_memory
from bytemill.gpu_check.sizes import Sizes
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.device import runtime
from bytemill.lm.generate.text import generate
from bytemill.lm.model.config import ModelConfig, Preset
from bytemill.lm.model.fp8 import use_fp8
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim import polar
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.events import Event, MemoryRanOut, Stepped
from bytemill.lm.train.pretrain import Trainer

PRESETS: Final[tuple[Preset, ...]] = ("gpt", "cs336", "nanochat-2026")
_SHAPE: Final = {
    "vocab_size": 512, "context_length": 128, "d_model": 128, "n_layer": 3, "n_head": 4,
    "n_kv_head": 2,
}  # fmt: skip


def _model(preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> Transformer:
    """All of its weights matter: none is 0."""
    generator = torch.Generator().manual_seed(0)
    model = Transformer(ModelConfig.preset(preset, **_SHAPE), generator=generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)
    return model.to(device, dtype)


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(512, (4, 129), generator=generator)
    targets = ids[:, 1:].clone()
    targets[0, :9] = -1
    return ids[:, :-1].contiguous(), targets


def logits_and_gradients(device: torch.device) -> Row:
    """fp32 on the device against fp64 on the CPU."""
    worst = {"logits": 0.0, "gradients": 0.0}
    for preset in PRESETS:
        x, y = _batch()
        exact, model = _model(preset, torch.device("cpu"), torch.float64), _model(preset, device)
        with torch.no_grad():
            expected, found = exact(x).double(), model(x.to(device)).cpu().double()
        worst["logits"] = max(worst["logits"], _apart(found, expected))
        exact.loss(x, y).backward()  # type: ignore[no-untyped-call]
        model.loss(x.to(device), y.to(device)).backward()  # type: ignore[no-untyped-call]
        for own, other in zip(model.parameters(), exact.parameters(), strict=True):
            worst["gradients"] = max(worst["gradients"], _apart(_grad(own), _grad(other)))
    text = f"logits within {worst['logits']:.1e}, gradients within {worst['gradients']:.1e}"
    # A softcap and logits in fp32 keep some 6 digits.
    good = worst["logits"] < 2e-5 and worst["gradients"] < 1e-4
    return Row("fp32 against fp64 on the CPU", text, good, worst)


def compiled(device: torch.device) -> Row:
    """Gradients of the compiled loss against the eager ones; nothing breaks the graph."""
    worst, breaks = 0.0, 0
    for preset in PRESETS:
        x, y = (part.to(device) for part in _batch())
        model = _model(preset, device)
        model.loss(x, y).backward()  # type: ignore[no-untyped-call]
        expected = [_grad(weight) for weight in model.parameters()]
        model.zero_grad(set_to_none=True)
        torch._dynamo.utils.counters.clear()
        torch.compile(model.loss, dynamic=False)(x, y).backward()  # type: ignore[no-untyped-call]
        breaks += sum(torch._dynamo.utils.counters["graph_break"].values())
        for weight, other in zip(model.parameters(), expected, strict=True):
            worst = max(worst, _apart(_grad(weight), other))
    text = f"gradients within {worst:.1e}, {breaks} graph breaks"
    return Row("compiled against eager", text, worst < 1e-4 and not breaks, {"gradients": worst})


def equal_steps(device: torch.device, n: int) -> Row:
    """Losses of fp32 training against the CPU's, as a share of how far the loss falls."""
    ids = models.counting_ids(64 * 65 * 8, 512)
    worst: dict[str, float] = {}
    for kind in ("adamw", "muon"):
        losses = []
        for where in (torch.device("cpu"), device):
            model = _model("gpt", where)
            config = OptimConfig(kind="muon" if kind == "muon" else "adamw")
            optimizers = build_optimizers(model, config, ns_dtype=torch.float32)
            found = []
            for i in range(n):
                at = i * 260 % (len(ids) - 260)
                rows = ids[at : at + 260].view(4, 65).to(where)
                loss = model.loss(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
                loss.backward()  # type: ignore[no-untyped-call]
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                found.append(float(loss.detach()))
            losses.append(found)
        apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
        worst[kind] = apart / abs(losses[0][0] - losses[0][-1])
    # Muon brings the smallest directions, which are rounding noise, to the size of the others.
    good = worst["adamw"] < 1e-4 and worst["muon"] < 1e-2
    text = f"apart by {worst['adamw']:.1e} (AdamW), {worst['muon']:.1e} (Muon) of the loss's fall"
    return Row(f"{n} fp32 steps against the CPU's", text, good, worst)


def muon(device: torch.device) -> Row:
    """Singular values of Muon's fp32 update, for matrices whose own span three powers of ten."""
    low, high = 1.0, 1.0
    for rows, columns in ((256, 256), (1024, 256), (256, 1024)):
        generator = torch.Generator().manual_seed(rows)
        u, _, v = torch.linalg.svd(
            torch.randn(rows, columns, generator=generator), full_matrices=False
        )
        matrix = (u * torch.logspace(0, -3, 256) @ v).to(device)
        update = polar.orthogonalize(matrix, dtype=torch.float32).double().cpu()
        values = torch.linalg.svdvals(update)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    good = low > 0.849 and high < 1.151
    return Row(
        "Muon's singular values", f"{low:.4f} to {high:.4f}", good, {"low": low, "high": high}
    )


def eight_bits(device: torch.device) -> Row:
    """Loss and gradients of a training step in fp8 against the same in bf16."""
    name = "fp8 against bf16"
    losses, gradients = [], []
    x, y = (part.to(device) for part in _batch())
    for wants_fp8 in (False, True):
        model = _model("nanochat-2026", device)
        if wants_fp8:
            try:
                use_fp8(model, device)
            except ValueError as error:
                return Row(name, f"skipped: {error}")
        with torch.autocast(device.type, torch.bfloat16):
            loss = model.loss(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([_grad(weight).flatten() for weight in model.parameters()]))
    apart, of_loss = _apart(gradients[1], gradients[0]), abs(losses[1] / losses[0] - 1)
    text = f"gradients apart by {apart:.1%}, losses by {of_loss:.2%}"
    good = 0 < apart < 0.2 and of_loss < 0.02
    return Row(name, text, good, {"gradients": apart, "losses": of_loss})


def generation(device: torch.device) -> Row:
    """Greedy and drawn text against the CPU's; a row alone against the same among others."""
    same = {"greedy": True, "drawn": True, "alone": True}
    prompts = [[1, 2, 3], [4] * 20, [7]]
    for preset in PRESETS:
        own, other = _model(preset, torch.device("cpu")), _model(preset, device)
        greedy: Any = {"max_new_tokens": 64, "temperature": 0}
        drawn: Any = {"max_new_tokens": 64, "top_k": 50, "seed": 3}
        together = generate(other, prompts, **greedy)
        same["greedy"] &= generate(own, prompts, **greedy) == together
        same["drawn"] &= generate(own, prompts, **drawn) == generate(other, prompts, **drawn)
        same["alone"] &= [generate(other, [p], **greedy)[0] for p in prompts] == together
    text = ", ".join(
        f"{name} {'equal' if is_same else 'DIFFERENT'}" for name, is_same in same.items()
    )
    return Row("text against the CPU's, fp32", text, all(same.values()), dict(same))


def resume(device: torch.device, folder: Path) -> Row:
    """Stopped half-way and resumed: the same bits as without a stop, and as once more."""
    same = {}
    for dtype in ("float32", "bfloat16"):
        for optimizer in ("muon", "adamw"):
            name = f"{optimizer} {dtype}"
            runs = [folder / f"{name} {i}".replace(" ", "-") for i in range(3)]
            configs = [
                _config(folder, run, device, dtype=dtype, optimizer=optimizer) for run in runs
            ]
            Trainer(configs[0]).run()
            Trainer(configs[1]).run()
            _stop_at(configs[2], 10)
            Trainer(configs[2], resume=True).run()
            first, again, resumed = map(_weights, runs)
            same[name] = bool((first == resumed).all())
            same[f"{name}, repeated"] = bool((first == again).all())
    bad = [name for name, is_same in same.items() if not is_same]
    text = f"other bits: {', '.join(bad)}" if bad else f"the same bits, {len(same)} comparisons"
    return Row("resume", text, not bad, dict(same))


def out_of_memory(device: torch.device, folder: Path, rows: int) -> Row:
    """A batch that does not fit is computed in halves."""
    seen = []

    def listen(event: Event) -> None:
        if isinstance(event, MemoryRanOut):
            seen.append(event.rows)

    config = _config(folder, folder / "memory", device, steps=3, rows=rows)
    with limited_memory(device, 1 << 30):
        result = Trainer(config, on_event=listen).run()
    text = (
        f"{result.step} steps, rows halved to {seen}" if seen else f"{result.step} steps, all fit"
    )
    good = result.is_finished and (bool(seen) or device.type != "cuda")
    return Row("out of memory", text, good, {"rows": seen})


def _config(
    folder: Path,
    run: Path,
    device: torch.device,
    *,
    dtype: str = "float32",
    optimizer: str = "muon",
    steps: int = 20,
    rows: int = 8,
) -> TrainConfig:
    data = folder / "ids.npy"
    if not data.exists():
        np.save(data, models.counting_ids(200_000, 512).numpy().astype(np.uint16))
    return TrainConfig.of(
        data=str(data), out=str(run), context_length=128, d_model=128, n_layer=2, n_head=4,
        batch_size=rows, micro_batch_size=rows, steps=steps, eval_tokens=2048, eval_every=0,
        checkpoint_every=0, device=str(device), dtype=dtype, optimizer=optimizer, threads=1,
    )  # fmt: skip


def _stop_at(config: TrainConfig, step: int) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            trainer.stop()

    trainer = Trainer(config, on_event=listen)
    trainer.run()


def _weights(run: Path) -> Tensor:
    model = load_model(run, which="last").model
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def _grad(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad.detach().double().cpu()


def _apart(found: Tensor, expected: Tensor) -> float:
    """The difference's norm as a share of what is expected."""
    return float((found - expected).norm() / expected.norm())


def checks(device: torch.device, sizes: Sizes, folder: Path) -> dict[str, Callable[[], Row]]:
    """Name -> check, in order; runs of training go to `folder`."""
    result: dict[str, Callable[[], Row]] = {
        "fp32 against fp64 on the CPU": lambda: logits_and_gradients(device),
        "steps against the CPU's": lambda: equal_steps(device, sizes.equal_steps),
        "Muon's singular values": lambda: muon(device),
        "fp8 against bf16": lambda: eight_bits(device),
        "text against the CPU's": lambda: generation(device),
        "resume": lambda: resume(device, folder),
        "out of memory": lambda: out_of_memory(device, folder, sizes.memory_rows),
    }
    if runtime.wants_compile("auto", device):
        result["compiled against eager"] = lambda: compiled(device)
    return result
