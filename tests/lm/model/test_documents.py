"""Attention within documents: the same as each document alone."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.model.attention import scaled_dot_product_attention
from bytemill.lm.model.cache import KVCache
from bytemill.lm.model.documents import Documents, within
from bytemill.lm.train import Trainer
from bytemill.lm.train.steps.accumulate import accumulate
from bytemill.lm.train.steps.objective import NextToken
from tests.support.lm_runs import config, make_ids, make_shards, tiny_model

BOS = 5


def packed(lengths, seed=0):
    """A row of documents, each with BOS first and nowhere else."""
    ids = torch.randint(6, 64, (1, sum(lengths)), generator=torch.Generator().manual_seed(seed))
    begins = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    ids[0, begins] = BOS
    return ids


VARIANTS = [
    {}, {"n_kv_head": 1}, {"window": 3, "window_pattern": "SL"}, {"qk_norm": True},
    {"n_kv_head": 1, "window": 2, "window_pattern": "S"}, {"smear": True},
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("preset", ["gpt", "cs336"])
def test_documents_in_a_row_are_what_they_are_alone(preset, variant):
    model = tiny_model(preset, **variant).double()
    if model.config.smear:
        torch.nn.init.ones_(model.smear.scale.weight)  # it starts at 0
    lengths = [1, 7, 2, 6]
    rows = torch.cat([packed(lengths), packed([4, 4, 8, 0][:3], 1)])
    with within(Documents(rows == BOS)):
        together = model(rows)
    alone = [
        torch.cat([model(part) for part in packed_row.split(sizes, 1)], 1)
        for packed_row, sizes in ((rows[:1], lengths), (rows[1:], [4, 4, 8]))
    ]
    assert (together - torch.cat(alone)).abs().max() < 1e-6
    assert (together - model(rows)).abs().max() > 1e-2, "without the mask they are others"


def test_gradients_are_those_of_the_documents_alone():
    model, ids = tiny_model().double(), packed([5, 3, 8])
    objective = NextToken(lambda x, y: model.loss(x, y, reduction="sum"))
    targets = ids.roll(-1)
    targets[0, [4, 7, 15]] = -1  # the next document's first token is not asked for
    with within(Documents(ids == BOS)):
        accumulate(objective, (ids, targets), 1)
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    sizes = [5, 3, 8]
    for x, y in zip(ids.split(sizes, 1), targets.split(sizes, 1), strict=True):
        (model.loss(x, y, reduction="sum") / 13).backward()
    for name, weight in model.named_parameters():
        assert (found[name] - weight.grad).abs().max() < 1e-6 * max(weight.grad.abs().max(), 1)
        assert weight.grad.any() or "norm" in name


def test_the_mask_by_its_definition():
    begins = torch.tensor([[False, True, False, False, True, False]])
    number = [0, 1, 1, 1, 2, 2]
    for window in (None, 1, 2, 9):
        mask = Documents(begins).mask(window)[0, 0]
        for i in range(6):
            for j in range(6):
                near = window is None or i - j < window
                assert mask[i, j] == (number[i] == number[j] and j <= i and near)
    q, k, v = torch.randn(3, 6, 4).unbind(0)
    only = scaled_dot_product_attention(q, k, v, Documents(begins).mask(None)[0, 0])
    assert torch.allclose(only[4], v[4])


def test_a_cache_does_not_look_at_it():
    model, ids = tiny_model().eval(), packed([6, 6])
    with torch.inference_mode():
        want = model(ids)
        with within(Documents(ids == BOS)):
            cache = KVCache(model.config, 1, 12)
            found = torch.cat([model(ids[:, :7], cache), model(ids[:, 7:], cache)], 1)
    assert torch.allclose(found, want, atol=1e-5)


def test_a_compiler_sees_it():
    model, ids = tiny_model(), packed([5, 3, 8])

    def loss(ids):
        with within(Documents(ids == BOS)):
            return model.loss(ids, ids)

    compiled = torch.compile(loss, backend="eager", dynamic=False)
    assert torch.allclose(compiled(ids), loss(ids), atol=1e-6)
    other = packed([8, 8])
    assert torch.allclose(compiled(other), loss(other), atol=1e-6)
    assert abs(loss(ids) - model.loss(ids, ids)) > 1e-3


def test_a_run_with_it(tmp_path):
    make_shards(tmp_path)
    data = {"data": str(tmp_path / "shards"), "tokenizer": str(tmp_path / "tokenizer")}
    settings = config(tmp_path, loader="documents", document_mask=True, steps=3, **data)
    trainer = Trainer(settings)
    found = trainer.run().validation.loss
    model, bos = trainer.model, trainer.data.tokenizer.special_tokens["<|bos|>"]
    x, y = (torch.cat([torch.from_numpy(b[i]) for b in trainer._val_batches]) for i in (0, 1))
    with within(Documents(x == bos)):
        want = model.loss(x, y).item()
    assert found == pytest.approx(want, rel=2e-6)
    assert abs(model.loss(x, y).item() / want - 1) > 2e-5
    Trainer(settings.but(document_mask=False, out=str(tmp_path / "without"))).run()
    files = [CheckpointStore(tmp_path / name).last().files for name in ("run", "without")]
    assert files[0] != files[1]
    make_ids(tmp_path)
    with pytest.raises(ValueError, match="document_mask=True: it needs a tokenizer"):
        Trainer(config(tmp_path, document_mask=True, out=str(tmp_path / "bare"))).run()
