"""The work of `benchmarks.lm`, each in a fresh process; see `benchmarks.measure`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import lm_models
from benchmarks.job import Job
from benchmarks.lm_models import Shape
from bytemill.lm.generate.text import generate
from bytemill.lm.generate.weights import DecodingWeights

OURS: Final = "bytemill"
THEIRS: Final = "transformers"
FP32: Final = "float32"
TOLERANCES: Final = {FP32: (1e-4, 1e-3), "bfloat16": (3e-2, 1e-2)}
"""By how much logits may differ, as a share of the largest, and losses."""
_PROMPT: Final = 16


def equality(shape: Shape, batch_size: int, peer: str = "llama", dtype: str = FP32) -> Job:
    """Whether both libraries compute the same function: logits, losses of three steps, and in fp32
    greedy text."""
    if peer == "llama":
        mine, theirs = lm_models.ours("cs336", shape), lm_models.llama(shape)
        lm_models.copy_weights(mine, theirs)
    else:
        mine, theirs = lm_models.ours("gpt", shape), lm_models.nanochat(shape)
        lm_models.give_all_a_part(mine)
        lm_models.export_weights(mine, theirs)

    def run() -> dict[str, Any]:
        x, y = lm_models.tokens(shape, batch_size, 0)
        with torch.inference_mode(), _computing_in(dtype):
            logits, expected = mine(x).float(), theirs(input_ids=x).logits.float()
        error = float((logits - expected).abs().max() / expected.abs().max())
        same_text = dtype != FP32 or _same_text(mine, theirs, x)
        losses = []
        for library, model in ((OURS, mine), (THEIRS, theirs)):
            step = _step(library, model, x, y, dtype)
            losses.append([float(step()) for _ in range(3)])
        difference = max(abs(a - b) for a, b in zip(*losses, strict=True))
        of_logits, of_losses = TOLERANCES[dtype]
        equal = error <= of_logits and difference <= of_losses and same_text
        return {"equal": equal, "logits": error, "losses": difference, "same_text": same_text}

    return Job(run, lambda result: result)


def _same_text(mine: Any, theirs: Any, x: Tensor) -> bool:
    n = min(48, x.shape[1] - _PROMPT)
    found = generate(mine, [x[0, :_PROMPT].tolist()], max_new_tokens=n, temperature=0)
    text = theirs.generate(
        x[:1, :_PROMPT], max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0
    )
    return bool(found[0] == text[0, _PROMPT:].tolist())


def train(
    library: str, preset: str, shape: Shape, batch_size: int, steps: int, dtype: str = FP32
) -> Job:
    """Steps of training, after two that are not timed."""
    model: Any
    if library == OURS:
        model = lm_models.ours(preset, shape)
    else:
        model = (lm_models.nanochat if preset == "nanochat" else lm_models.llama)(shape)
    step = _step(library, model, *lm_models.tokens(shape, batch_size, 0), dtype)
    for _ in range(2):
        step()

    def run() -> list[float]:
        return [float(step()) for _ in range(steps)]

    return Job(run, lambda losses: {"losses": losses})


def decode(library: str, preset: str, shape: Shape, n_new: int) -> Job:
    """Greedy text at batch 1, after some that is not timed."""
    x, _ = lm_models.tokens(shape, 1, 0)
    prompt = x[:, :_PROMPT]
    call: Callable[[int], list[int]]
    if library == OURS:
        weights = DecodingWeights(lm_models.ours(preset, shape))

        def call(n: int) -> list[int]:
            return generate(weights, prompt.tolist(), max_new_tokens=n, temperature=0)[0]

    else:
        model = lm_models.llama(shape).eval()

        def call(n: int) -> list[int]:
            ids = model.generate(
                prompt, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0
            )
            new: list[int] = ids[0, _PROMPT:].tolist()
            return new

    call(8)
    return Job(lambda: call(n_new), lambda ids: {"tokens": len(ids)})


def _step(
    library: str,
    model: Any,
    x: Tensor,
    y: Tensor,
    dtype: str,
) -> Callable[[], Tensor]:
    """One step of training on a batch: forward, backward, clipping, AdamW."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )

    def their_loss(ids: Tensor, targets: Tensor) -> Tensor:
        logits = model(input_ids=ids, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    loss_of: Any = model.loss if library == OURS else their_loss

    def step() -> Tensor:
        with _computing_in(dtype):
            loss: Tensor = loss_of(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _computing_in(dtype: str) -> AbstractContextManager[object]:
    """Autocast, where that is not the dtype of the weights."""
    return nullcontext() if dtype == FP32 else torch.autocast("cpu", getattr(torch, dtype))
