"""Models that are more than their weights, and what their modules write, for tests of generating.

Whatever somebody puts into a model notes in `CALLS` that it was run.
"""

import torch
from torch import nn

from tests.support.models import small_model

NEW = 9
"""Tokens that are written."""
CALLS: list[str] = []


class Low(nn.Module):
    """A projection with a low-rank addition (LoRA; Hu et al. 2021)."""

    def __init__(self, inner, calls):
        super().__init__()
        d_out, d_in = inner.weight.shape
        self.inner, self.calls = inner, calls
        self.a = nn.Parameter(torch.randn(2, d_in) * 0.3)
        self.b = nn.Parameter(torch.randn(d_out, 2) * 0.3)

    def forward(self, x):
        self.calls.append("low")
        return self.inner(x) + x @ self.a.T @ self.b.T


class Wrapper(nn.Module):
    """As `DataParallel`: holds a model, and hands on what it is called with."""

    def __init__(self, module, calls, factor=1.0):
        super().__init__()
        self.module, self.calls, self.factor = module, calls, factor

    def forward(self, *args, **kwargs):
        self.calls.append("wrapper")
        return self.module(*args, **kwargs) * self.factor


def hook_on_a_block(model):
    model.layers[1].register_forward_hook(lambda m, i, out: CALLS.append("hook") or out.flip(-1))


def low_rank_projection(model):
    model.layers[0].attn.q_proj = Low(model.layers[0].attn.q_proj, CALLS)


def biased_head(model):
    head = nn.Linear(64, 97)
    head.register_forward_hook(lambda *_: CALLS.append("head"))
    model.lm_head = head


def forward_of_its_own(model):
    inner = model.layers[0].attn.forward

    def forward(*args):
        CALLS.append("forward")
        return -inner(*args)

    model.layers[0].attn.forward = forward


def wrapper(model):
    return Wrapper(model, CALLS)


def changed(change, name="cs336"):
    torch.manual_seed(4)
    model = small_model(name, context_length=32).eval()
    result = change(model)
    result = model if result is None else result
    for parameter in result.parameters():
        parameter.requires_grad_(False)
    return result.eval()


def greedy(model, prompt):
    """Ids, by calling the model with all that was said so far."""
    ids = list(prompt)
    for _ in range(NEW):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]
