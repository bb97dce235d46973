"""Second derivatives, torch.func, forward mode, fake and meta tensors, counted FLOPs.

Each against the same operations or the same model made of torch's own functions.
"""

import pytest

torch = pytest.importorskip("torch")

import torch.autograd.forward_ad as fwad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bytemill.lm import functional
from bytemill.lm.model import kernels
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401

FakeTensorMode = pytest.importorskip("torch._subclasses.fake_tensor").FakeTensorMode

N, C, V = 24, 12, 30
NEAR = {"rtol": 1e-4, "atol": 1e-5}
TARGETS = torch.randint(V, (V,), generator=torch.Generator().manual_seed(8))
TARGETS[::5] = -1
# The names of what is tested and of the faster forms, which are to be used otherwise.
CASES = {
    "linear": (functional.linear, F.linear, (V, C), "OneDnnLinear"),
    "rmsnorm": (
        lambda x, w: functional.rmsnorm(x, w), lambda x, w: F.rms_norm(x, (C,), w, 1e-5), (C,),
        "RmsNorm",
    ),
    "relu_squared": (
        lambda x, w: functional.relu_squared(x * w), lambda x, w: F.relu(x * w).square(), (C,),
        "ReluSquared",
    ),
    "loss": (
        lambda x, w: functional.chunked_cross_entropy(
            x, w, TARGETS[: len(x)], softcap=5.0, chunk_size=7
        ),
        lambda x, w: F.cross_entropy(
            5 * torch.tanh(x @ w.T / 5), TARGETS[: len(x)], ignore_index=-1
        ),
        (V, C), "_ChunkedCrossEntropy",
    ),
    "loss_sum": (
        lambda x, w: functional.chunked_cross_entropy(x, w, TARGETS[: len(x)], reduction="sum"),
        lambda x, w: F.cross_entropy(
            x @ w.T, TARGETS[: len(x)], ignore_index=-1, reduction="sum"
        ),
        (V, C), "_ChunkedCrossEntropy",
    ),
}  # fmt: skip


def randn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def twice(f, x, w):
    """The gradient, and that of a penalty on it, as in Hessian-vector products."""
    leaves = [part.clone().requires_grad_() for part in (x, w)]
    out = f(*leaves)
    grads = torch.autograd.grad(out, leaves, randn(*out.shape, seed=4), create_graph=True)
    again = torch.autograd.grad(
        sum((g * randn(*g.shape, seed=5)).sum() + g.square().sum() for g in grads), leaves
    )
    return *grads, *again


def thrice(f, x, w):
    x = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(f(x, w).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    return torch.autograd.grad(second.square().sum(), x)


def jvp(f, x, w):
    return torch.func.jvp(f, (x, w), (randn(*x.shape, seed=4), randn(*w.shape, seed=5)))


def dual(f, x, w):
    with fwad.dual_level():
        return fwad.unpack_dual(f(fwad.make_dual(x, randn(*x.shape, seed=4)), w))


def total(f):
    return lambda x, w: f(x, w).square().sum()


def vmap_grad(f, x, w):
    grad = torch.func.grad(total(f), argnums=(0, 1))
    return torch.func.vmap(grad, (0, None))(torch.stack([x, 2 * x, x - 1]), w)


def vjp(f, x, w):
    out, back = torch.func.vjp(f, x, w)
    return torch.func.vmap(back)(randn(3, *out.shape, seed=4))


def hvp(f, x, w):
    grad = torch.func.grad(total(f))
    return torch.func.jvp(lambda x: grad(x, w), (x,), (randn(*x.shape, seed=4),))


def hessian(f, x, w):
    return (torch.func.hessian(total(f))(x[:3], w),)


def batched_gradients(f, x, w):
    """Forward pass as always; only the backward pass is vectorized."""
    leaves = [part.clone().requires_grad_() for part in (x, w)]
    out = f(*leaves)
    return torch.autograd.grad(out, leaves, randn(3, *out.shape, seed=4), is_grads_batched=True)


def vmap_of_backward(f, x, w):
    leaves = [part.clone().requires_grad_() for part in (x, w)]
    out = f(*leaves)
    return torch.func.vmap(lambda g: torch.autograd.grad(out, leaves, g, retain_graph=True))(
        randn(3, *out.shape, seed=4)
    )


def traced(f, x, w):
    return (make_fx(f)(x, w)(2 * x, w),)


def inner_twin(f, x, w):
    """One tensor as both arguments."""
    if w.ndim == 1:
        return ()
    x = w.clone().requires_grad_()
    (first,) = torch.autograd.grad(f(x, x).square().sum(), x, create_graph=True)
    return first, *torch.autograd.grad(first.square().sum(), x)


TRANSFORMS = [
    twice, thrice, jvp, dual, vmap_grad, vjp, hvp, hessian, batched_gradients, vmap_of_backward,
    traced, inner_twin,
]  # fmt: skip


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.__name__)
@pytest.mark.parametrize("case", CASES)
def test_transforms_of_operations(case, transform):
    ours, theirs, shape, _ = CASES[case]
    x, w = randn(N, C, seed=1), randn(*shape, seed=2)
    got, expected = transform(ours, x, w), transform(theirs, x, w)
    for mine, other in zip(got, expected, strict=True):
        largest = other.abs().max().item()
        assert largest > 0
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=3e-5 * largest)


@pytest.mark.parametrize("case", CASES)
def test_the_faster_forms_are_used_otherwise(case):
    ours, _, shape, name = CASES[case]
    if name == "OneDnnLinear" and not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    x, w = randn(N, C, seed=1).requires_grad_(), torch.nn.Parameter(randn(*shape, seed=2))

    def nodes(node):
        names = {type(node).__name__}
        for inner, _ in node.next_functions:
            names |= nodes(inner) if inner is not None else set()
        return names

    assert f"{name}Backward" in nodes(ours(x, w).grad_fn)
    assert not kernels.aside(x, w)
    with kernels.plain():
        assert f"{name}Backward" not in nodes(ours(x, w).grad_fn)
        assert kernels.aside(x, w)
    assert not kernels.aside(x, w)


def reference(config, weights, ids):
    """Logits, of torch's own functions alone."""

    def norm(x, name):
        return F.rms_norm(x, x.shape[-1:], weights.get(f"{name}.weight"), config.norm_eps)

    def turned(x):  # (B, H, T, d)
        table = functional.rope_table(config.head_dim, x.shape[-2], config.rope_theta)
        cos, sin = table.repeat_interleave(2, dim=-2).unbind(-1)
        other = torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
        return x * cos + other * sin

    x = F.embedding(ids, weights["token_embeddings.weight"])
    x = norm(x, "ln_embedding") if config.embedding_norm else x
    for i in range(config.n_layer):
        at = f"layers.{i}."
        y = norm(x, f"{at}ln1")
        q, k, v = (
            F.linear(y, weights[f"{at}attn.{p}_proj.weight"])
            .unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
            for p in "qkv"
        )  # fmt: skip
        if config.qk_norm:
            q, k = norm(q, f"{at}attn.q_norm"), norm(k, f"{at}attn.k_norm")
        q, k = turned(q), turned(k)
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) * config.head_dim**-0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        y = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
        x = x + F.linear(y.transpose(1, 2).flatten(-2), weights[f"{at}attn.output_proj.weight"])
        y = norm(x, f"{at}ln2")
        up = F.linear(y, weights[f"{at}ffn.w1.weight"])
        if config.mlp == "swiglu":
            up = F.silu(up) * F.linear(y, weights[f"{at}ffn.w3.weight"])
        else:
            up = F.relu(up).square()
        x = x + F.linear(up, weights[f"{at}ffn.w2.weight"])
    logits = F.linear(norm(x, "ln_final"), weights["lm_head.weight"])
    cap = config.logit_softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


class Loss(torch.nn.Module):
    """A model's loss as a module, for `functional_call`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, targets):
        return self.model.loss(ids, targets)


class Case:
    """A model's loss and the reference's as functions of the weights, and a direction."""

    def __init__(self, name):
        self.model = small_model(name, n_layer=2)
        self.ids = ids_like(self.model, 3, 20)
        self.targets = self.ids.roll(-1, 1)
        self.targets[:, -2:] = -1
        self.weights = {k: v.detach().clone() for k, v in self.model.named_parameters()}
        self.tangents = {k: 0.1 * randn(*v.shape, seed=3) for k, v in self.weights.items()}

    def ours(self, weights, ids, targets):
        named = {f"model.{name}": value for name, value in weights.items()}
        return torch.func.functional_call(Loss(self.model), named, (ids, targets))

    def theirs(self, weights, ids, targets):
        logits = reference(self.model.config, weights, ids)
        return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-1)

    def check(self, transform):
        got, expected = transform(self.ours), transform(self.theirs)
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-5)


@pytest.fixture(params=["cs336", "gpt"], scope="module")
def case(request):
    return Case(request.param)


def test_gradients_of_each_sequence(case):
    def transform(loss):
        def one(weights, ids, targets):
            return loss(weights, ids[None], targets[None])

        grads = torch.func.vmap(torch.func.grad(one), (None, 0, 0))
        return grads(case.weights, case.ids, case.targets)

    case.check(transform)


def test_directional_derivatives(case):
    def transform(loss):
        return torch.func.jvp(
            lambda weights: loss(weights, case.ids, case.targets),
            (case.weights,),
            (case.tangents,),
        )

    case.check(transform)


def test_hessian_vector_products_forward_over_reverse(case):
    def transform(loss):
        grad = torch.func.grad(lambda weights: loss(weights, case.ids, case.targets))
        return torch.func.jvp(grad, (case.weights,), (case.tangents,))

    case.check(transform)


def reverse_over_reverse(loss, parameters, tangents):
    grads = torch.autograd.grad(loss(), parameters, create_graph=True)
    dot = sum((g * t).sum() for g, t in zip(grads, tangents, strict=True))
    return torch.autograd.grad(dot, parameters)


@pytest.mark.parametrize("context", [kernels.plain, lambda: sdpa_kernel(SDPBackend.MATH)])
def test_hessian_vector_products_reverse_over_reverse(case, context):
    parameters = list(case.model.parameters())
    tangents = [case.tangents[name] for name, _ in case.model.named_parameters()]
    named = {name: p.requires_grad_() for name, p in case.model.named_parameters()}
    expected = reverse_over_reverse(
        lambda: case.theirs(named, case.ids, case.targets), parameters, tangents
    )
    with context():
        got = reverse_over_reverse(
            lambda: case.model.loss(case.ids, case.targets), parameters, tangents
        )
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-5)


def test_a_second_derivative_of_fused_attention_names_the_remedy(case):
    parameters = list(case.model.parameters())
    tangents = [case.tangents[name] for name, _ in case.model.named_parameters()]
    with pytest.raises(RuntimeError, match=r"differentiated twice: .*kernels\.plain\(\)"):
        reverse_over_reverse(lambda: case.model.loss(case.ids, case.targets), parameters, tangents)
    # A first one that keeps its graph is as it was.
    loss = case.model.loss(case.ids, case.targets)
    grads = torch.autograd.grad(loss, parameters, create_graph=True)
    loss = case.model.loss(case.ids, case.targets)
    torch.testing.assert_close(grads, torch.autograd.grad(loss, parameters), **NEAR)


def test_traces_are_of_torchs_own_operations(case):
    with torch.no_grad():
        graph = make_fx(lambda ids: case.model.loss(ids, ids))(case.ids)
        other = case.ids.flip(0, 1)
        torch.testing.assert_close(graph(other), case.model.loss(other, other))
    names = {str(node.target) for node in graph.graph.nodes}
    assert not [name for name in names if "mkldnn" in name]


def test_gradients_of_each_sequence_with_the_refinements_of_2026():
    model = small_model("nanochat-2026", n_layer=3)
    ids = ids_like(model, 3, 10)
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weights, row):
        named = {f"model.{name}": weight for name, weight in weights.items()}
        return torch.func.functional_call(Loss(model), named, (row[None, :-1], row[None, 1:]))

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, ids)
    for i, row in enumerate(ids):
        model.zero_grad()
        model.loss(row[None, :-1], row[None, 1:]).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[name][i], parameter.grad, rtol=1e-3, atol=2e-5)
