"""How fast: steps of training, tokens of text, and what Muon is worth."""

from __future__ import annotations

import statistics
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.gpu_check import models
from bytemill.gpu_check.results import Row
from bytemill.gpu_check.sizes import Shape, Sizes
from bytemill.lm.device import runtime
from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.config import PRESETS, Preset
from bytemill.lm.model.cost.accounting import training_flops_per_token
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.groups import OptimConfig, build_optimizers, set_learning_rates


def training(name: str, shape: Shape, sizes: Sizes, device: torch.device, *, compiled: bool) -> Row:
    """Tokens a second of one model: ours by its preset's name, or transformers'.

    All are trained by the same fused AdamW in bf16 with fp32 weights, gradients clipped to 1.
    Compilation and the first steps are not timed.
    """
    is_ours = name in PRESETS
    model: Any
    if is_ours:
        model = models.ours(cast("Preset", name), shape, device)
        loss_of: Any = model.loss
    else:
        model = models.theirs(name, shape, device)

        def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
            logits = model(input_ids=ids).logits
            return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), fused=True)
    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False)
    x, y = models.random_batch(shape, device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(x, y)
        loss.backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(sizes.warmup_steps):
        step()
    seconds = _timed(step, sizes.timed_steps, device)
    speed = shape.tokens / statistics.median(seconds)
    figures: dict[str, Any] = {
        "shape": shape._asdict(),
        "model": name,
        "compiled": compiled,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "step_seconds": seconds,
        "tokens_per_second": speed,
        "peak_bytes": runtime.peak_memory(device),
    }
    text = f"{speed:>9,.0f} tokens/s"
    if is_ours and (peak := runtime.peak_flops(device, torch.bfloat16)):
        figures["mfu"] = speed * training_flops_per_token(model.config) / peak
        text += f", {figures['mfu']:.1%} MFU"
    if figures["peak_bytes"]:
        text += f", {figures['peak_bytes'] / 2**30:.1f} GiB"
    title = f"train {shape.name}, {name}, {'compiled' if compiled else 'eager'}"
    return Row(title, text, None, figures)


def _timed(step: Callable[[], None], n: int, device: torch.device) -> list[float]:
    runtime.synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(n):
        began = time.perf_counter()
        step()
        runtime.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return seconds


def decoding(shape: Shape, sizes: Sizes, device: torch.device, n_rows: int) -> Row:
    """Tokens a second of greedy text in bf16, prompts of 16 tokens included."""
    weights = DecodingWeights(models.ours("gpt", shape, device).bfloat16())
    prompts = [[(i + j) % shape.vocab_size for j in range(16)] for i in range(n_rows)]
    length = min(sizes.new_tokens, shape.context_length - 16)

    def write() -> None:
        generate(weights, prompts, max_new_tokens=length, temperature=0)

    write()
    seconds = _timed(write, 3, device)
    speed = n_rows * length / statistics.median(seconds)
    figures = {"rows": n_rows, "new_tokens": length, "seconds": seconds, "tokens_per_second": speed}
    return Row(f"decode {shape.name}, {n_rows} rows", f"{speed:>9,.0f} tokens/s", None, figures)


def learning(shape: Shape, sizes: Sizes, device: torch.device) -> Row:
    """Steps that Muon takes to the loss that AdamW has at the end, on Python's own source.

    Both have their default rates, warmed up over ten steps, and the same batches.
    """
    ids = source_ids(shape, sizes.learning_steps)
    compiled = runtime.wants_compile("auto", device)
    losses: dict[str, list[float]] = {}
    for kind in ("adamw", "muon"):
        model = models.ours("gpt", shape, device)
        config = OptimConfig(kind="muon" if kind == "muon" else "adamw")
        optimizers = build_optimizers(model, config, ns_dtype=torch.bfloat16)
        loss_of: Any = torch.compile(model.loss, dynamic=False) if compiled else model.loss
        found = []
        generator = torch.Generator().manual_seed(0)
        for i in range(sizes.learning_steps):
            at = torch.randint(
                len(ids) - shape.context_length, (shape.batch_size,), generator=generator
            )
            rows = torch.stack([ids[j : j + shape.context_length + 1] for j in at.tolist()]).to(
                device
            )
            with torch.autocast(device.type, torch.bfloat16):
                loss = loss_of(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
            loss.backward()
            clip_gradients(model.parameters(), 1.0)
            set_learning_rates(optimizers, min(1.0, (i + 1) / 10))
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            found.append(loss.detach())
        losses[kind] = torch.stack(found).tolist()
        torch._dynamo.reset()
    n = sizes.learning_steps
    aim, end = (_mean_of_last(losses[kind], n) for kind in ("adamw", "muon"))
    reached = next((i for i in range(1, n + 1) if _mean_of_last(losses["muon"], i) <= aim), None)
    took = f"after {reached}" if reached else "not"
    text = f"{n} steps: AdamW {aim:.3f}, Muon {end:.3f}; Muon at AdamW's loss {took}"
    return Row("Muon against AdamW", text, None, {"losses": losses, "steps_to_adamw": reached})


def source_ids(shape: Shape, n_steps: int) -> Tensor:
    """Ids of the standard library's source, (N,) int64, by a tokenizer trained on it."""
    from bytemill import Tokenizer

    wanted, texts = 4 * shape.tokens * n_steps, []
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if wanted > 0 and "-packages" not in str(path):
            texts.append(path.read_bytes().decode("utf-8", "replace"))
            wanted -= len(texts[-1])
    tokenizer = Tokenizer.train(texts, min(shape.vocab_size, 8_192))
    return torch.tensor(tokenizer.encode("\n".join(texts)))


def _mean_of_last(losses: list[float], end: int, width: int = 10) -> float:
    return statistics.fmean(losses[max(0, end - width) : end])
