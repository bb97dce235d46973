"""A Transformer in NumPy and fp64, written from the formulas, one row and one head at a time."""

import numpy as np


def rms_norm(x, weight, eps):
    scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    return scaled if weight is None else scaled * weight


def rotate(x, theta):
    """x (T, head_dim): the pair (2i, 2i+1) as a complex number, turned by p theta^(-2i/d)."""
    length, size = x.shape
    out = np.empty_like(x)
    for i in range(size // 2):
        angle = np.arange(length) * theta ** (-2 * i / size)
        turned = (x[:, 2 * i] + 1j * x[:, 2 * i + 1]) * np.exp(1j * angle)
        out[:, 2 * i], out[:, 2 * i + 1] = turned.real, turned.imag
    return out


def attend(q, k, v):
    """q, k, v (T, head_dim), causal."""
    out = np.empty_like(v)
    for t in range(len(q)):
        scores = k[: t + 1] @ q[t] / np.sqrt(q.shape[1])
        weights = np.exp(scores - scores.max())
        out[t] = weights @ v[: t + 1] / weights.sum()
    return out


def logits(config, state, ids):
    """Logits (T, V) of one row of ids (T,), from a state dict of fp64 arrays."""

    def norm(x, name):
        return rms_norm(x, state.get(f"{name}.weight"), config.norm_eps)

    x = state["token_embeddings.weight"][ids]
    if config.embedding_norm:
        x = norm(x, "ln_embedding")
    size = config.head_dim
    shared = config.n_head // config.n_kv_head
    for n in range(config.n_layer):
        at = f"layers.{n}"
        inner = norm(x, f"{at}.ln1")
        q, k, v = (inner @ state[f"{at}.attn.{p}_proj.weight"].T for p in "qkv")
        heads = []
        for head in range(config.n_head):
            mine = slice(head * size, (head + 1) * size)
            group = head // shared
            theirs = slice(group * size, (group + 1) * size)
            one_q, one_k = q[:, mine], k[:, theirs]
            if config.qk_norm:
                one_q, one_k = norm(one_q, f"{at}.attn.q_norm"), norm(one_k, f"{at}.attn.k_norm")
            theta = config.rope_theta
            heads.append(attend(rotate(one_q, theta), rotate(one_k, theta), v[:, theirs]))
        x = x + np.concatenate(heads, -1) @ state[f"{at}.attn.output_proj.weight"].T
        inner = norm(x, f"{at}.ln2")
        w1, w2 = state[f"{at}.ffn.w1.weight"], state[f"{at}.ffn.w2.weight"]
        up = inner @ w1.T
        if config.mlp == "swiglu":
            up = up / (1 + np.exp(-up)) * (inner @ state[f"{at}.ffn.w3.weight"].T)
        else:
            up = np.maximum(up, 0) ** 2
        x = x + up @ w2.T
    out = norm(x, "ln_final") @ state["lm_head.weight"].T
    cap = config.logit_softcap
    return out if cap is None else cap * np.tanh(out / cap)
