"""Activation checkpointing: what a layer computes is computed again for its gradients, not kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from bytemill.lm.model import documents


def recompute(layers: Iterable[nn.Module]) -> None:
    """Lets each layer keep its inputs only, in training; its forward pass is made twice.

    Chen et al. 2016, Training deep nets with sublinear memory cost,
    https://arxiv.org/abs/1604.06174. Gradients are the same bits: dropout draws the same numbers
    again.
    """
    for layer in layers:
        layer.forward = _Recomputed(layer, layer.forward)


class _Recomputed:
    def __init__(self, layer: nn.Module, forward: Any) -> None:
        self._layer, self._forward = layer, forward

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not (self._layer.training and torch.is_grad_enabled()):
            return self._forward(*args, **options)
        # The backward pass comes when what surrounds the model's call has ended.
        now = documents.current()

        def run(*inputs: Any, **more: Any) -> Any:
            with documents.within(now):
                return self._forward(*inputs, **more)

        return checkpoint(run, *args, use_reentrant=False, **options)
