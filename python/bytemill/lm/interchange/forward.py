"""Other tools' models computed from their files, in fp64 and from the formulas: what an export is
compared with where the other tool is not installed.

Nothing here is shared with `bytemill.lm.model`: names, order of rows and turns are theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def logits(config: Mapping[str, Any], tensors: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    """Logits (T, V) in fp64 of ids (T,), for a config.json and the tensors beside it."""
    wide = {name: tensor.double() for name, tensor in tensors.items()}
    if config["model_type"] == "nanochat":
        return _nanochat(config, wide, ids)
    if config["model_type"] == "gpt2":
        return _gpt2(config, wide, ids)
    return _llama(config, wide, ids)


def _llama(config: Mapping[str, Any], of: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    eps = config["rms_norm_eps"]
    x = of["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}"
        inner = _rms(x, eps) * of[f"{at}.input_layernorm.weight"]
        x = x + _attention(config, of, f"{at}.self_attn", inner, turn=1.0)
        inner = _rms(x, eps) * of[f"{at}.post_attention_layernorm.weight"]
        gate = inner @ of[f"{at}.mlp.gate_proj.weight"].T
        up = gate * torch.sigmoid(gate) * (inner @ of[f"{at}.mlp.up_proj.weight"].T)
        x = x + up @ of[f"{at}.mlp.down_proj.weight"].T
    return (_rms(x, eps) * of["model.norm.weight"]) @ _head(of).T


def _nanochat(config: Mapping[str, Any], of: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    eps, cap = config["rms_norm_eps"], config["final_logit_softcapping"]
    x = _rms(of["model.embed_tokens.weight"][ids], eps)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}"
        x = x + _attention(config, of, f"{at}.self_attn", _rms(x, eps), turn=-1.0, eps=eps)
        up = (_rms(x, eps) @ of[f"{at}.mlp.fc1.weight"].T).clamp_min(0) ** 2
        x = x + up @ of[f"{at}.mlp.fc2.weight"].T
    out = _rms(x, eps) @ _head(of).T
    return out if cap is None else cap * torch.tanh(out / cap)


def _gpt2(config: Mapping[str, Any], of: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    n_head = config["n_head"]

    def norm(x: Tensor, at: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = _rms(centred, config["layer_norm_epsilon"])
        return scaled * of[f"{at}.weight"] + of[f"{at}.bias"]

    def linear(x: Tensor, at: str) -> Tensor:
        return x @ of[f"{at}.weight"] + of[f"{at}.bias"]

    x = of["transformer.wte.weight"][ids] + of["transformer.wpe.weight"][: len(ids)]
    for i in range(config["n_layer"]):
        at = f"transformer.h.{i}"
        qkv = linear(norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn")
        q, k, v = (part.chunk(n_head, 1) for part in qkv.chunk(3, 1))
        heads = [_attend(*each) for each in zip(q, k, v, strict=True)]
        x = x + linear(torch.cat(heads, 1), f"{at}.attn.c_proj")
        up = linear(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc")
        inner = math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)
        x = x + linear(up / 2 * (1 + inner.tanh()), f"{at}.mlp.c_proj")
    head = of.get("lm_head.weight", of["transformer.wte.weight"])
    return norm(x, "transformer.ln_f") @ head.T


def _head(of: Mapping[str, Tensor]) -> Tensor:
    return of.get("lm_head.weight", of["model.embed_tokens.weight"])


def _rms(x: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def _attention(
    config: Mapping[str, Any],
    of: Mapping[str, Tensor],
    at: str,
    x: Tensor,
    *,
    turn: float,
    eps: float | None = None,
) -> Tensor:
    """Attention of x (T, C); the halves of each head turn by `turn` times the angle, and are
    normalized if there is an `eps`."""
    n_head, n_kv_head = config["num_attention_heads"], config["num_key_value_heads"]
    q, k, v = (x @ of[f"{at}.{name}_proj.weight"].T for name in "qkv")
    size, shared = q.shape[1] // n_head, n_head // n_kv_head
    theta = config["rope_parameters"]["rope_theta"]
    frequencies = theta ** -(torch.arange(size // 2, dtype=torch.float64) / (size // 2))
    angles = turn * torch.arange(len(x), dtype=torch.float64)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()

    def turned(head: Tensor) -> Tensor:
        a, b = head[:, : size // 2], head[:, size // 2 :]
        out = torch.cat((a * cos - b * sin, b * cos + a * sin), 1)
        return out if eps is None else _rms(out, eps)

    heads = []
    for i in range(n_head):
        own, theirs = i * size, i // shared * size
        one_q, one_k = turned(q[:, own : own + size]), turned(k[:, theirs : theirs + size])
        heads.append(_attend(one_q, one_k, v[:, theirs : theirs + size]))
    return torch.cat(heads, 1) @ of[f"{at}.o_proj.weight"].T


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head, causal; all (T, head_dim)."""
    scores = q @ k.T / math.sqrt(q.shape[1])
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return F.softmax(scores.masked_fill(hidden, -math.inf), -1) @ v
