"""A Transformer in NumPy and fp64, written from the formulas, one row and one head at a time."""

import numpy as np


def rms_norm(x, weight, eps):
    scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    return scaled if weight is None else scaled * weight


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    scaled = scaled if weight is None else scaled * weight
    return scaled if bias is None else scaled + bias


def rotate(x, theta):
    """x (T, head_dim): the pair (2i, 2i+1) as a complex number, turned by p theta^(-2i/d)."""
    length, size = x.shape
    out = np.empty_like(x)
    for i in range(size // 2):
        angle = np.arange(length) * theta ** (-2 * i / size)
        turned = (x[:, 2 * i] + 1j * x[:, 2 * i + 1]) * np.exp(1j * angle)
        out[:, 2 * i], out[:, 2 * i + 1] = turned.real, turned.imag
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def smeared(x, w, scale):
    """Each vector of x (T, C) plus scale sigmoid(w . its first 24 numbers) times the one before."""
    out = x.copy()
    for t in range(1, len(x)):
        out[t] += scale * sigmoid(w @ x[t, : len(w)]) * x[t - 1]
    return out


def attend(q, k, v, window=None):
    """q, k, v (T, head_dim), causal; each sees the last `window` tokens, itself among them."""
    out = np.empty_like(v)
    for t in range(len(q)):
        first = 0 if window is None else max(0, t - window + 1)
        scores = k[first : t + 1] @ q[t] / np.sqrt(q.shape[1])
        weights = np.exp(scores - scores.max())
        out[t] = weights @ v[first : t + 1] / weights.sum()
    return out


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def window_of(config, layer):
    """How many tokens a layer sees; None for all."""
    letters = (config.window_pattern * config.n_layer)[: config.n_layer - 1] + "L"
    return config.window if letters[layer] == "S" else None


def logits(config, state, ids):
    """Logits (T, V) of one row of ids (T,), from a state dict of fp64 arrays."""

    def norm(x, name):
        if config.norm == "layer" and not name.endswith(("q_norm", "k_norm")):
            weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
            return layer_norm(x, weight, bias, config.norm_eps)
        return rms_norm(x, state.get(f"{name}.weight"), config.norm_eps)

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)

    def turned(x):
        return rotate(x, config.rope_theta) if config.position == "rope" else x

    def added(x, name, layer):
        """The residual stream with what a layer makes of it."""
        if config.norm_position == "pre":
            return x + layer(norm(x, name))
        x = x + layer(x)
        return norm(x, name) if config.norm_position == "post" else x

    size = config.head_dim
    shared = config.n_head // config.n_kv_head

    def attention(n, inner):
        at = f"layers.{n}.attn"
        q, k, v = (linear(inner, f"{at}.{p}_proj") for p in "qkv")
        if config.value_embeddings and (config.n_layer - 1 - n) % 2 == 0:
            gate = state[f"{at}.value_gate.weight"]
            gates = 3 * sigmoid(inner[:, : gate.shape[1]] @ gate.T)
            v = v + np.repeat(gates, size, -1) * state[f"value_embeddings.{n}.weight"][ids]
        heads = []
        for head in range(config.n_head):
            mine = slice(head * size, (head + 1) * size)
            group = head // shared
            theirs = slice(group * size, (group + 1) * size)
            one_q, one_k = q[:, mine], k[:, theirs]
            if config.qk_norm:
                one_q, one_k = norm(one_q, f"{at}.q_norm"), norm(one_k, f"{at}.k_norm")
            seen = window_of(config, n)
            one_q, one_k = config.qk_scale * turned(one_q), config.qk_scale * turned(one_k)
            heads.append(attend(one_q, one_k, v[:, theirs], seen))
        return linear(np.concatenate(heads, -1), f"{at}.output_proj")

    def feed_forward(n, inner):
        at = f"layers.{n}.ffn"
        up = linear(inner, f"{at}.w1")
        if config.mlp == "swiglu":
            up = silu(up) * linear(inner, f"{at}.w3")
        elif config.mlp == "silu":
            up = silu(up)
        elif config.mlp == "gelu":
            up = gelu(up)
        else:
            up = np.maximum(up, 0) ** 2
        return linear(up, f"{at}.w2")

    x = state["token_embeddings.weight"][ids]
    if config.embedding_norm:
        x = norm(x, "ln_embedding")
    if config.smear:
        x = smeared(x, state["smear.gate.weight"][0], state["smear.scale.weight"][0])
    if config.position == "learned":
        x = x + state["position_embeddings.weight"][: len(ids)]
    first, outputs = x, []
    for n in range(config.n_layer):
        if config.resid_scalars:
            x = state["resid.weight"][n] * x
        if config.x0_scalars:
            x = x + state["x0.weight"][n] * first
        x = added(x, f"layers.{n}.ln1", lambda inner, n=n: attention(n, inner))
        x = added(x, f"layers.{n}.ln2", lambda inner, n=n: feed_forward(n, inner))
        outputs.append(x)
    if config.backout:
        x = x - state["backout.weight"][0] * outputs[config.n_layer // 2]
    if config.norm_position == "pre":
        x = norm(x, "ln_final")
    head = "token_embeddings" if config.tie_embeddings else "lm_head"
    out = x @ state[f"{head}.weight"][: config.vocab_size].T
    cap = config.logit_softcap
    return out if cap is None else cap * np.tanh(out / cap)
