"""Every preset and variant, alone and combined: all ways through the model give the same logits."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import KVCache, Transformer
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.cost.accounting import count_parameters
from bytemill.lm.model.residual.block import Block
from tests.support import reference
from tests.support.models import CHOICES, ids_like, small_model, variants
from tests.support.one_thread import one_thread  # noqa: F401

T = 24
CASES = variants(n_mixed=60)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    """A model, ids (4, T) and the logits of its forward pass."""
    name, fields = request.param
    model = small_model(name, **fields).eval().requires_grad_(False)
    ids = ids_like(model, 4, T)
    return model, ids, model(ids)


def assert_near(got, expected, largest, share=1e-5):
    assert got.dtype == torch.float32
    error = float((got - expected).abs().max())
    assert error <= share * float(largest.abs().max()), error


def test_forward_is_the_reference_in_fp64(case):
    model, ids, logits = case
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    expected = np.stack([reference.logits(model.config, state, row) for row in ids.numpy()])
    assert np.abs(expected).max() > 0.5  # so that 1e-4 says something
    assert_near(logits, torch.from_numpy(expected).float(), logits, 1e-4)


@pytest.mark.parametrize("pieces", [[1] * T, [5] * 4 + [4], [1, 9, 1, 13]], ids=str)
def test_cached_forward(case, pieces):
    model, ids, logits = case
    cache = KVCache(model.config, 4, T)
    got, at = [], 0
    for n in pieces:
        got.append(model(ids[:, at : at + n], cache))
        at += n
    assert at == T
    assert_near(torch.cat(got, 1), logits, logits)


def test_cached_forward_of_ragged_rows(case):
    model, ids, logits = case
    cache = KVCache(model.config, 4)
    for new in ([9, 1, 5, 12], [2, 4, 0, 3], [1, 1, 1, 1], [3, 9, 7, 8]):
        held = cache.lengths
        nexts = torch.zeros(4, max(new), dtype=torch.int64)
        for row, n in enumerate(new):
            nexts[row, :n] = ids[row, held[row] : held[row] + n]
        got = model(nexts, cache, lengths=new)
        for row, n in enumerate(new):
            if n:
                assert_near(got[row, :n], logits[row, held[row] : held[row] + n], logits)


@pytest.mark.parametrize("lengths", [[1], [10], [3, 3, 3, 3], [9, 1, 5, 12]], ids=str)
def test_decoding(case, lengths, monkeypatch):
    model, ids, logits = case
    weights = DecodingWeights(model)
    assert weights.obstacle is None
    decoder = Decoder(weights)
    rows = range(len(lengths))
    got = decoder.prefill([ids[row, :n].tolist() for row, n in enumerate(lengths)])
    # From here on no module is called.
    monkeypatch.setattr(Block, "forward", lambda *_: pytest.fail("a block was called"))
    for _ in range(T - max(lengths) + 1):
        ends = [n - 1 for n in decoder.lengths]
        assert_near(got, logits[rows, ends], logits)
        if max(ends) < T - 1:
            got = decoder.step(ids[rows, decoder.lengths])


def test_rows_that_are_chosen_go_on(case):
    model, ids, logits = case
    decoder = Decoder(DecodingWeights(model))
    decoder.prefill([ids[row, :n].tolist() for row, n in enumerate([2, 7, 4, 7])])
    decoder.step(ids[range(4), decoder.lengths])
    for rows in ([3, 0, 1, 1], [2], [0, 0]):
        which = rows if rows == [3, 0, 1, 1] else [1] * len(rows)
        decoder.select(rows)
        at = decoder.lengths
        assert_near(decoder.step(ids[which, at]), logits[which, at], logits)


def test_parameters_are_counted_and_named_once(case):
    model, _, _ = case
    assert model.n_params() == count_parameters(model.config).total
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    assert sum(value.numel() for value in model.state_dict().values()) == model.n_params()


def test_every_field_that_varies_is_among_the_choices():
    sizes = {"vocab_size", "context_length", "d_model", "n_head", "d_ff", "rope_theta", "norm_eps"}
    fixed = {"zero_init_output"}  # of the start alone
    config = small_model().config
    varied = {name for choices in CHOICES.values() for fields in choices for name in fields}
    assert set(config.to_dict()) - sizes - fixed <= varied


def test_dropout_is_of_training_alone_and_follows_the_seed():
    for fields in ({"norm_position": "post"}, {"norm_position": "none"}, {}):
        plain = small_model(dropout=0.0, **fields)
        model = small_model(dropout=0.4, **fields)
        ids = ids_like(model, 2, T)
        with torch.no_grad():
            assert torch.equal(model.eval()(ids), plain(ids))
            model.train()
            torch.manual_seed(3)
            first, second = model(ids), model(ids)
            torch.manual_seed(3)
            assert torch.equal(model(ids), first)
        assert not torch.equal(first, second)


def test_dropouts_share_and_places(monkeypatch):
    from bytemill.lm import functional
    from bytemill.lm.model import transformer
    from bytemill.lm.model.residual import block

    torch.manual_seed(0)
    x = torch.ones(400, 100)
    dropped = functional.dropout(x, 0.25, True)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert functional.dropout(x, 0.25, False) is x
    seen = []
    for where in (block, transformer):
        monkeypatch.setattr(
            where, "dropout", lambda x, share, training: seen.append((share, training)) or x
        )
    model = small_model(dropout=0.25, n_layer=3)
    model(ids_like(model, 1, 4))
    assert seen == [(0.25, True)] * (1 + 2 * 3)


def test_training_with_tied_embeddings_keeps_one_weight():
    import copy

    from bytemill.lm.optim.groups import OptimConfig, build_optimizers

    model = small_model(tie_embeddings=True)
    ids = ids_like(model, 2, T)
    for kind in ("adamw", "muon"):
        for optimizer in build_optimizers(model, OptimConfig(kind=kind)):
            optimizer.zero_grad()
            model.loss(ids[:, :-1], ids[:, 1:]).backward()
            optimizer.step()
    # The gradient is of both uses.
    model.zero_grad()
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    both = model.token_embeddings.weight.grad.clone()
    twin = Transformer(model.config)
    twin.load_state_dict(model.state_dict())
    twin.lm_head = torch.nn.Linear(64, 97, bias=False)
    with torch.no_grad():
        twin.lm_head.weight.copy_(model.lm_head.weight)
    twin.loss(ids[:, :-1], ids[:, 1:]).backward()
    parts = twin.token_embeddings.weight.grad + twin.lm_head.weight.grad
    torch.testing.assert_close(both, parts, rtol=1e-4, atol=1e-6)
    for other in (copy.deepcopy(model), model.double().float()):
        assert other.lm_head.weight is other.token_embeddings.weight
    moved = Transformer(model.config, device="meta").to_empty(device="cpu")
    moved.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(moved(ids), model(ids))


def test_tied_weights_start_as_a_head():
    for zero in (True, False):
        model = Transformer(
            small_model(tie_embeddings=True, zero_init_output=zero, vocab_size=900).config
        )
        std = float(model.token_embeddings.weight.detach().std())
        assert std == pytest.approx((2 / (900 + 64)) ** 0.5, rel=0.03)


def test_windows_hide_what_is_before_them():
    model = small_model(n_layer=2, window=5, window_pattern="S")
    ids = ids_like(model, 1, T)
    changed = ids.clone()
    changed[0, 3] = (ids[0, 3] + 1) % 97
    seen = []
    hook = model.layers[0].register_forward_hook(lambda _, __, out: seen.append(out[0]))
    with torch.no_grad():
        model(ids), model(changed)
    hook.remove()
    differs = (seen[0] != seen[1]).any(-1).nonzero().flatten().tolist()
    assert differs == [3, 4, 5, 6, 7]


def test_a_cache_that_is_cut_smears_from_the_token_that_is_left():
    model = small_model("nanochat-2026", n_layer=3)
    ids = ids_like(model, 2, T)
    cache = KVCache(model.config, 2)
    with torch.no_grad():
        logits = model(ids)
        model(ids[:, :15], cache)
        cache.truncate([4, 9])
        got = model(torch.stack((ids[0, 4:8], ids[1, 9:13])), cache)
    assert_near(got, torch.stack((logits[0, 4:8], logits[1, 9:13])), logits)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_padding_of_the_vocabulary_changes_nothing(dtype):
    padded = small_model("nanochat-2026", vocab_multiple=64)
    model = small_model("nanochat-2026", vocab_multiple=1)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    state = {name: value[: shapes[name][0]] for name, value in padded.state_dict().items()}
    model.load_state_dict(state)
    ids = ids_like(model, 3, T)
    targets = ids.roll(-1, 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        assert torch.equal(padded(ids), model(ids))
        ours, theirs = padded.loss(ids, targets, chunk=7), model.loss(ids, targets, chunk=7)
        plain = torch.nn.functional.cross_entropy(padded(ids).flatten(0, 1), targets.flatten())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-5 if dtype == "float32" else 1e-2)
    ours.backward(), theirs.backward()
    grad = padded.lm_head.weight.grad
    assert not grad[97:].any() and not padded.token_embeddings.weight.grad[97:].any()
    torch.testing.assert_close(grad[:97], model.lm_head.weight.grad)


def test_gradients_of_the_refinements():
    """Autograd's against differences, in fp64."""
    model = small_model("nanochat-2026", n_layer=3).double()
    ids = ids_like(model, 2, 9)
    model.loss(ids, ids.roll(-1, 1)).backward()
    names = [
        "resid.weight", "x0.weight", "smear.scale.weight", "smear.gate.weight", "backout.weight",
        "value_embeddings.2.weight", "layers.2.attn.value_gate.weight",
    ]  # fmt: skip
    parameters = dict(model.named_parameters())
    for name in names:
        weight = parameters[name]
        at = weight.grad.abs().argmax()
        grad, flat = weight.grad.flatten()[at].item(), weight.data.view(-1)
        losses = []
        for step in (1e-5, -2e-5):
            flat[at] += step
            losses.append(model.loss(ids, ids.roll(-1, 1)).item())
        flat[at] += 1e-5
        assert abs(grad) > 1e-4
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(grad, rel=1e-4), name
