"""Trains a module of one's own, on batches of one's own; stops half-way and goes on.

python examples/own_model.py
"""

from __future__ import annotations

import tempfile

import torch
from torch import nn

from bytemill.lm.train import fit
from bytemill.lm.train.events import Event, Stepped
from bytemill.lm.train.loop import Loop

X = torch.rand(640, 2, generator=torch.Generator().manual_seed(0))
BATCHES = [(x, x.prod(1, keepdim=True)) for x in X.split(64)]  # to learn: how to multiply


def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """The mean square error."""
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def train(out: str, *callbacks) -> nn.Module:  # type: ignore[no-untyped-def]
    """Two hundred steps; goes on with what is in `out`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    fit(model, BATCHES, loss, optimizer, 200, out=out, resume=True, callbacks=callbacks)
    return model


def half_way(loop: Loop, event: Event) -> None:
    """A callback, which sees the loop and what has happened."""
    if isinstance(event, Stepped) and event.step == 100:
        loop.stop()


def show(loop: Loop, event: Event) -> None:
    """Prints some of the losses."""
    if isinstance(event, Stepped) and event.step % 66 == 1:
        print(f"step {event.step}: loss {event.loss:.4f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        straight = train(f"{folder}/straight", show)
        train(f"{folder}/stopped", half_way)
        resumed = train(f"{folder}/stopped")
    same = map(torch.equal, straight.parameters(), resumed.parameters())
    print("stopped at 100 and resumed:", "equal, bit for bit" if all(same) else "another model")
