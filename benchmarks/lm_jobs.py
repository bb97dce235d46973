"""The work of `benchmarks.lm`, each in a fresh process; see `benchmarks.measure`."""

from __future__ import annotations

from collections.abc import Callable
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
_PROMPT: Final = 16


def equality(shape: Shape, batch_size: int) -> Job:
    """Whether both libraries compute the same function: logits, losses of three steps, and text."""
    mine, theirs = lm_models.ours("cs336", shape), lm_models.llama(shape)
    lm_models.copy_weights(mine, theirs)

    def run() -> dict[str, Any]:
        x, y = lm_models.tokens(shape, batch_size, 0)
        with torch.inference_mode():
            logits, expected = mine(x), theirs(input_ids=x).logits
        error = float((logits - expected).abs().max() / expected.abs().max())
        found = generate(mine, [x[0, :_PROMPT].tolist()], max_new_tokens=48, temperature=0)
        text = theirs.generate(
            x[:1, :_PROMPT], max_new_tokens=48, min_new_tokens=48, do_sample=False, pad_token_id=0
        )
        losses = []
        for library, model in ((OURS, mine), (THEIRS, theirs)):
            step = _step(library, model, x, y)
            losses.append([float(step()) for _ in range(3)])
        difference = max(abs(a - b) for a, b in zip(*losses, strict=True))
        same_text = found[0] == text[0, _PROMPT:].tolist()
        equal = error <= 1e-4 and difference <= 1e-3 and same_text
        return {"equal": equal, "logits": error, "losses": difference, "same_text": same_text}

    return Job(run, lambda result: result)


def train(library: str, preset: str, shape: Shape, batch_size: int, steps: int) -> Job:
    """Steps of training, after two that are not timed."""
    model = lm_models.ours(preset, shape) if library == OURS else lm_models.llama(shape)
    step = _step(library, model, *lm_models.tokens(shape, batch_size, 0))
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
        loss: Tensor = loss_of(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step
