"""Activation checkpointing: the same gradients to the bit, and less that is kept for them."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.model.documents import Documents, within
from bytemill.lm.train import Trainer
from bytemill.lm.train.steps.recompute import recompute
from tests.support.lm_runs import config, make_ids, tiny_model


def gradients(preset, recomputed, mask, dtype):
    """Gradients of a loss with dropout, and the bytes that were kept for them."""
    model = tiny_model(preset, n_layer=3, dropout=0.2, n_kv_head=1)
    if recomputed:
        recompute(model.layers)
    ids = torch.randint(64, (4, 16), generator=torch.Generator().manual_seed(1))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(3)
    documents = Documents(ids < 8) if mask else None
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
        within(documents),
    ):
        loss = model.loss(ids, ids)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("preset", ["gpt", "cs336"])
def test_gradients_are_the_same_bits_with_less_kept(preset, mask, dtype):
    plain, much = gradients(preset, False, mask, dtype)
    again, little = gradients(preset, True, mask, dtype)
    assert all(torch.equal(again[name], grad) for name, grad in plain.items())
    assert any(grad.any() for grad in plain.values())
    assert little < 0.6 * much
    if not mask:
        other, _ = gradients(preset, True, True, dtype)
        assert not all(torch.equal(other[name], grad) for name, grad in plain.items())


def test_a_run_is_the_same(tmp_path):
    make_ids(tmp_path)
    settings = config(tmp_path, dropout=0.1, n_layer=2, val_data=str(tmp_path / "ids.npy"))
    Trainer(settings).run()
    Trainer(settings.but(recompute=True, out=str(tmp_path / "again"))).run()
    files = [CheckpointStore(tmp_path / name).last() for name in ("run", "again")]
    assert files[0].files == files[1].files and files[0].metrics == files[1].metrics
