"""Chunked cross-entropy against torch's, in value, gradient and memory; figures made of it."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from bytemill import Tokenizer
from bytemill.lm import Transformer
from bytemill.lm.evaluate.measures import bits_per_byte, perplexity, token_bytes
from bytemill.lm.model import kernels
from bytemill.lm.model import loss as module
from bytemill.lm.model.loss import (
    chunked_cross_entropy,
    cross_entropy,
    rows_of_chunk,
    softcap,
)
from tests.support.models import ids_like, small_model
from tests.support.one_thread import one_thread  # noqa: F401


def inputs(n=50, c=24, v=70, masked=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, c, generator=generator)
    weight = torch.randn(v, c, generator=generator) / 2
    targets = torch.randint(v, (n,), generator=generator)
    if masked:
        targets[torch.rand(n, generator=generator) < 0.3] = -1
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def full(hidden, weight, targets, softcap=None, reduction="mean", ignore_index=-1):
    logits = hidden @ weight.t()
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction=reduction)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (4, 2, 3, 5)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_logits_of_any_shape(shape, reduction):
    rng = np.random.default_rng(len(shape))
    logits = rng.normal(size=shape) * 3
    targets = rng.integers(0, shape[-1], shape[:-1])
    chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    losses = np.log(np.exp(logits).sum(-1)) - chosen
    got = cross_entropy(torch.tensor(logits), torch.tensor(targets), reduction=reduction)
    np.testing.assert_allclose(got, getattr(losses, reduction)(), rtol=1e-12)


def test_the_mean_is_of_those_that_count():
    """Of one, it is that one's."""
    logits, targets = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([-1, 0])
    expected = math.log1p(math.exp(2))
    assert cross_entropy(logits, targets).item() == pytest.approx(expected, rel=1e-6)
    hidden = torch.eye(2)
    chunked = chunked_cross_entropy(hidden, logits.t().contiguous(), targets)
    assert chunked.item() == pytest.approx(expected, rel=1e-6)
    # Of a single id there is nothing to learn, and places that do not count need not have it.
    assert cross_entropy(torch.zeros(2, 1), targets).item() == 0


def test_softcap_is_what_its_docstring_says():
    logits = torch.linspace(-50, 50, 11, dtype=torch.float64)
    expected = [15 * math.tanh(x / 15) for x in logits.tolist()]
    np.testing.assert_allclose(softcap(logits, 15.0), expected, rtol=1e-12)
    assert torch.equal(softcap(logits, None), logits)


def test_logits_without_a_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"^logits of shape \(\): expected"):
        cross_entropy(torch.tensor(1.0), torch.tensor(0))


@pytest.mark.parametrize("chunk_size", [1, 7, 25, 50, 51, None])
@pytest.mark.parametrize("softcap", [None, 2.0, 15.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(chunk_size, softcap, reduction, dtype):
    hidden, weight, targets = inputs()
    exact = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    expected = full(*exact, targets, softcap, reduction)
    (3 * expected).backward()
    ours = [x.detach().to(dtype).requires_grad_() for x in (hidden, weight)]
    got = chunked_cross_entropy(
        *ours, targets, softcap=softcap, reduction=reduction, chunk_size=chunk_size
    )
    (3 * got).backward()
    near = {"rtol": 1e-6, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 0}
    torch.testing.assert_close(got.double(), expected, **near)
    for mine, theirs in zip(ours, exact, strict=True):
        near["atol"] = near["rtol"] * theirs.grad.abs().max().item()
        torch.testing.assert_close(mine.grad.double(), theirs.grad, **near)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_rows_of_padding_have_no_share_and_no_gradient(softcap, reduction):
    hidden, weight, targets = inputs(v=80)
    targets = targets.clamp_max(69)
    exact = (
        hidden.detach().double().requires_grad_(),
        weight.detach()[:70].double().requires_grad_(),
    )
    expected = full(*exact, targets, softcap, reduction)
    expected.backward()
    with torch.no_grad():
        weight[70:] = 30.0  # what they are does not matter
    found = chunked_cross_entropy(
        hidden, weight, targets, softcap=softcap, reduction=reduction, chunk_size=7, vocab_size=70
    )
    found.backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(hidden.grad.double(), exact[0].grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weight.grad[:70].double(), exact[1].grad, rtol=1e-4, atol=1e-5)
    assert not weight.grad[70:].any()


def test_how_many_rows_are_taken_at_a_time():
    """An eighth, or 64, but no more logits than fit."""

    def rows(n, vocab_size):
        return rows_of_chunk(torch.empty(n, 1), vocab_size)

    assert [rows(n, 70) for n in (8 * 100, 8 * 100 + 1, 8 * 64, 8 * 64 + 1, 3)] == [
        100, 101, 64, 65, 64,
    ]  # fmt: skip
    assert [rows(80_000, v) for v in (2**12, 2**13 - 1, 2**21, 2**21 + 1)] == [512, 256, 1, 1]
    assert rows_of_chunk(torch.empty(3, 1), 70, 1) == 1
    # Elsewhere than on a CPU they may be more.
    assert rows_of_chunk(torch.empty(80_000, 1, device="meta"), 2**15) == 2**12


def test_so_many_are_taken(monkeypatch):
    sizes = []

    def seen(*args):
        found = matmul(*args)
        sizes.append(tuple(found.shape))
        return found

    matmul = kernels.matmul
    monkeypatch.setattr(kernels, "matmul", seen)
    monkeypatch.setitem(module._CHUNK_ELEMENTS, "cpu", 16 * 70)
    hidden, weight, targets = inputs()
    chunked_cross_entropy(hidden.detach(), weight.detach(), targets)
    assert sizes == [(16, 70)] * 3 + [(2, 70)]


def test_gradients_only_where_wanted():
    hidden, weight, targets = inputs()
    full(hidden, weight, targets).backward()
    expected = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    chunked_cross_entropy(hidden, weight.detach(), targets).backward()
    chunked_cross_entropy(hidden.detach(), weight, targets).backward()
    torch.testing.assert_close((hidden.grad, weight.grad), expected, rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        assert not chunked_cross_entropy(hidden, weight, targets).requires_grad


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_masked_is_zero(reduction):
    hidden, weight, targets = inputs()
    targets.fill_(-1)
    loss = chunked_cross_entropy(hidden, weight, targets, reduction=reduction, chunk_size=9)
    loss.backward()
    assert loss.item() == 0
    assert not hidden.grad.any()
    assert not weight.grad.any()
    assert cross_entropy(hidden, targets, reduction=reduction).item() == 0
    model = small_model("gpt")
    ids = ids_like(model, 2, 9)
    assert model.loss(ids, torch.full_like(ids, -1), reduction=reduction).item() == 0


def test_another_ignore_index_and_wild_logits():
    hidden, weight, targets = inputs(masked=False)
    targets[::3] = -100
    big = hidden.detach() * 300
    got = chunked_cross_entropy(big, weight, targets, ignore_index=-100)
    expected = full(big, weight, targets, ignore_index=-100)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    logits = big @ weight.t()
    plain = cross_entropy(logits, targets, ignore_index=-100)
    torch.testing.assert_close(plain, expected, rtol=1e-6, atol=0)


def plain(hidden, weight, targets, **options):
    return cross_entropy(hidden @ weight.t(), targets, **options)


FORMS = pytest.mark.parametrize("loss", [plain, chunked_cross_entropy])


@FORMS
@pytest.mark.parametrize("ignored", [-100, -1, -7, 0, 3, 69, 70, 1000])
def test_any_integer_can_mark_what_does_not_count(loss, ignored):
    hidden, weight, targets = inputs(masked=False)
    targets[::3] = ignored
    exact = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    expected = full(*exact, targets, ignore_index=ignored)
    expected.backward()
    for index in (ignored, np.int64(ignored)):
        hidden.grad = weight.grad = None
        got = loss(hidden, weight, targets, ignore_index=index)
        got.backward()
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(hidden.grad.double(), exact[0].grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(weight.grad.double(), exact[1].grad, rtol=1e-4, atol=1e-6)


@FORMS
@pytest.mark.parametrize(
    ("bad", "ignored"), [(-100, -1), (-2, -1), (-1, -100), (70, -1), (-1, 70), (2**40, -1)]
)
def test_a_target_that_is_not_an_id_is_refused(loss, bad, ignored):
    hidden, weight, targets = inputs(masked=False)
    targets[7] = bad
    message = rf"target {bad} is not in the vocabulary: ids run from 0 to 69; .* here {ignored}$"
    for reduction in ("mean", "sum"):
        with pytest.raises(ValueError, match=message):
            loss(hidden, weight, targets, ignore_index=ignored, reduction=reduction)


@FORMS
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_narrow_targets(loss, dtype):
    hidden, weight, targets = inputs(v=300, masked=False)
    targets[5] = 255  # not -1, which it would be in 8 bits
    expected = full(hidden, weight, targets.clamp_max_(255))
    torch.testing.assert_close(loss(hidden, weight, targets.to(dtype)), expected)


@FORMS
@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (torch.zeros(1, dtype=torch.int64), ValueError, r"targets \(1,\).*\(50,\)"),
        (torch.zeros((), dtype=torch.int64), ValueError, r"targets \(\)"),
        (torch.zeros(50, 1, dtype=torch.int64), ValueError, r"targets \(50, 1\)"),
        (torch.zeros(1, 50, dtype=torch.int64), ValueError, r"targets \(1, 50\)"),
        (torch.zeros(50), TypeError, "targets of torch.float32"),
        (torch.zeros(50, dtype=torch.bool), TypeError, "targets of torch.bool"),
        (torch.zeros(50, dtype=torch.complex64), TypeError, "targets of torch.complex64"),
    ],
)
def test_targets_of_another_form(loss, targets, error, message):
    hidden, weight, _ = inputs()
    with pytest.raises(error, match=message):
        loss(hidden, weight, targets)


@FORMS
@pytest.mark.parametrize("bad", [1.0, True, None, "x", math.nan])
def test_ignore_index_is_an_integer(loss, bad):
    with pytest.raises(TypeError, match=f"ignore_index={bad!r}"):
        loss(*inputs(), ignore_index=bad)


def test_bf16_under_autocast():
    hidden, weight, targets = inputs(200)
    full(hidden, weight, targets).backward()
    exact = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = chunked_cross_entropy(hidden, weight, targets, chunk_size=64)
    loss.backward()
    assert loss.dtype == hidden.grad.dtype == torch.float32
    for mine, theirs in zip((hidden.grad, weight.grad), exact, strict=True):
        error = (mine - theirs).norm() / theirs.norm()
        assert 1e-5 < error < 1e-2  # above 0: products were in bf16


def peak_memory(step):
    """The most bytes that tensors held at once during step(), beyond those before it."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    changes = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for change in sorted(changes, key=lambda e: e.start_ns()):
        held += change.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize("softcap", [None, 15.0])
def test_a_quarter_of_the_memory(softcap):
    hidden, weight, targets = inputs(1024, 192, 4096)

    def step(loss):
        hidden.grad = weight.grad = None
        loss(hidden, weight, targets, softcap=softcap).backward()

    chunked, whole = (peak_memory(lambda f=f: step(f)) for f in (chunked_cross_entropy, full))
    logits = 1024 * 4096 * 4
    assert whole >= 2 * logits  # or the measurement misses something
    assert 0 < chunked <= whole / 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"reduction": "none"}, "reduction='none'"),
        ({"weight": torch.zeros(70, 23)}, r"\(70, 23\)"),
        # Though their second axes agree:
        ({"hidden": torch.zeros(50, 24, 3)}, r"hidden \(50, 24, 3\)"),
        ({"weight": torch.zeros(70, 24, 3)}, r"weight \(70, 24, 3\)"),
        ({"targets": torch.zeros(49, dtype=torch.int64)}, r"\(49,\)"),
    ],
)
def test_bad_arguments(change, message):
    hidden, weight, targets = inputs()
    arguments = {"hidden": hidden, "weight": weight, "targets": targets, **change}
    with pytest.raises(ValueError, match=message):
        chunked_cross_entropy(**arguments)


def test_perplexity_and_bits_per_byte():
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e6) == math.inf
    assert bits_per_byte(8 * math.log(2) * 100, 100) == pytest.approx(8)
    with pytest.raises(ValueError, match="n_bytes=0"):
        bits_per_byte(1.0, 0)


def test_token_bytes():
    text = "low lower lowest größer größer größer"
    tokenizer = Tokenizer.train([text], 262, ["<|endoftext|>"])
    lengths = token_bytes(tokenizer)
    assert lengths.shape == (tokenizer.n_vocab,)
    assert lengths.dtype == torch.int64
    ids = tokenizer.encode(text + "<|endoftext|>")
    assert lengths[ids].sum() == len(text.encode())
    assert lengths[ids[-1]] == 0
    assert (lengths[:256] == 1).all()


class Tripled(Transformer):
    def logits(self, hidden):
        return 3 * super().logits(hidden)


class Halved(Transformer):
    def forward(self, ids, *args, **options):
        return 0.5 * super().forward(ids, *args, **options)


@pytest.mark.parametrize("kind", [Tripled, Halved, "hook", "instance", "class"])
def test_the_loss_is_of_what_the_model_gives_when_called(kind, monkeypatch):
    model = small_model() if isinstance(kind, str) else kind(small_model().config)
    if kind == "hook":
        model.register_forward_hook(lambda module, args, out: out.flip(-1))
    elif kind == "instance":
        logits = model.logits
        model.logits = lambda hidden: 2 * logits(hidden)
    elif kind == "class":
        logits = Transformer.logits
        monkeypatch.setattr(Transformer, "logits", lambda self, hidden: 2 * logits(self, hidden))
    ids, targets = ids_like(model, 3, 12), ids_like(model, 3, 12, seed=2)
    targets[0, :5] = -1
    expected = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-1)
    plain = small_model()
    plain.load_state_dict(model.state_dict())
    found = model.loss(ids, targets)
    assert abs(float((found - expected).detach())) < 1e-5
    if kind != "class":
        assert abs(float((found - plain.loss(ids, targets)).detach())) > 1e-2
