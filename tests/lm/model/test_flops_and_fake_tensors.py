"""What torch tells of a model without its numbers: shapes by fake tensors, and FLOPs."""

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode

from bytemill.lm import Transformer
from bytemill.lm.generate.text import generate
from bytemill.lm.model.cost import accounting
from tests.support.models import ids_like, small_config, small_model
from tests.support.one_thread import one_thread  # noqa: F401

FakeTensorMode = pytest.importorskip("torch._subclasses.fake_tensor").FakeTensorMode


@pytest.mark.parametrize("name", ["cs336", "gpt", "nanochat-2026"])
@pytest.mark.parametrize("own_head", [True, False])
def test_fake_tensors_and_meta(name, own_head):
    config = small_config(name)

    def losses(device):
        model = Transformer(config, device=device)
        if not own_head:
            model.lm_head = torch.nn.Linear(config.d_model, config.vocab_size, device=device)
        ids = torch.zeros(3, 20, dtype=torch.int64, device=device)
        logits = model(ids)
        loss = model.loss(ids, ids)
        loss.backward()
        assert (logits.shape, logits.dtype) == ((3, 20, config.vocab_size), torch.float32)
        assert (loss.shape, loss.dtype) == ((), torch.float32)
        for parameter in model.parameters():
            assert parameter.grad.shape == parameter.shape
        return model, ids, loss

    assert losses("meta")[2].is_meta
    with FakeTensorMode() as mode:
        model, ids, loss = losses("cpu")
        assert type(loss) is type(mode.from_tensor(torch.ones(1)))
    # Fake tensors remember their mode.
    assert type(model.loss(ids, ids)) is type(loss)
    assert type(model(ids)) is type(loss)


@pytest.mark.parametrize("name", ["cs336", "gpt", "nanochat-2026"])
@pytest.mark.parametrize("own_head", [True, False])
def test_flops_in_fp32_are_those_of_the_account(name, own_head):
    model = small_model(name)
    if not own_head:
        model.lm_head = torch.nn.Linear(64, model.config.padded_vocab_size, bias=False)
    ids = ids_like(model, 3, 32)
    total = accounting.forward_flops(model.config, batch_size=3, length=32).total
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    assert counter.get_total_flops() == total
    with FlopCounterMode(display=False) as counter:
        model.loss(ids, ids).backward()
    # Attention's gradients take five products, not four, where the scores are made again.
    assert counter.get_total_flops() == 3 * total
    with FlopCounterMode(display=False) as counter:
        loss = model(ids).sum()
    with FlopCounterMode(display=False) as back:
        loss.backward()
    assert back.get_total_flops() == 2 * counter.get_total_flops()


def test_flops_of_generation():
    model = small_model(d_model=256, n_layer=1).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        generate(model, [[1, 2, 3]], max_new_tokens=5)
    # Three tokens at first, then four times one; the last is given out, but not read. A model that
    # is watched is asked for all logits.
    config = model.config
    matrices = accounting.count_parameters(config).matrices
    scores = 2 * 2 * config.d_model * (3 * 3 + 4 + 5 + 6 + 7)
    head = 2 * config.d_model * config.vocab_size
    assert counter.get_total_flops() == 2 * matrices * 7 + scores + head * 7
