"""Gradients do not depend on how a batch is cut."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.train.steps.accumulate import MicroBatches, accumulate, default_rows
from bytemill.lm.train.steps.objective import MeanOverRows, NextToken
from tests.support.lm_runs import tiny_model


def batch(seed=0, rows=16):
    """Ids and targets; the rows have from none to all of their targets masked."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randint(64, (2, rows, 16), generator=generator)
    masked = torch.rand(rows, 16, generator=generator) < torch.linspace(0, 1, rows)[:, None]
    return x, y.masked_fill(masked, -1)


def gradients(model, x, y, rows):
    model.zero_grad()
    objective = NextToken(lambda a, b: model.loss(a, b, reduction="sum"))
    loss = accumulate(objective, (x, y), rows)
    return loss, {name: p.grad.clone() for name, p in model.named_parameters()}


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("preset", ["gpt", "cs336"])
@pytest.mark.parametrize("rows", [4, 1, 5])
def test_cuts_do_not_show(preset, rows):
    model = tiny_model(preset)
    x, y = batch()
    whole, cut = gradients(model, x, y, 16), gradients(model, x, y, rows)
    assert distance(cut[0], whole[0]) < 1e-5
    for name, grad in whole[1].items():
        assert distance(cut[1][name], grad) < 1e-5, name


def test_it_is_the_mean_over_targets_that_count():
    # The mean of the micro-batches' means, which it must not be, is another number.
    model = tiny_model()
    x, y = batch()
    model.zero_grad()
    logits = model.double()(x).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, y.flatten(), ignore_index=-1)
    expected.backward()
    want = {name: p.grad.clone() for name, p in model.named_parameters()}
    loss, grads = gradients(model.float(), x, y, 4)
    assert distance(loss, expected) < 1e-5
    for name, grad in grads.items():
        assert distance(grad, want[name]) < 1e-4, name
    parts = [model.loss(a, b).item() for a, b in zip(x.split(4), y.split(4), strict=True)]
    assert abs(sum(parts) / 4 / loss.item() - 1) > 1e-4


def test_nothing_but_masked_targets():
    model = tiny_model()
    x, _ = batch()
    loss, grads = gradients(model, x, torch.full_like(x, -1), 4)
    assert loss == 0
    assert all(not grad.any() for grad in grads.values())


def run_out_at(model, most, calls):
    """A loss that takes `most` rows and no more, and has left gradients behind when it fails."""

    def loss_sum(x, y):
        calls.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        if len(calls) == 3:  # the second micro-batch of a try
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return model.loss(x, y, reduction="sum")

    return loss_sum


def test_rows_are_halved_when_memory_runs_out():
    model, calls, told = tiny_model(), [], []
    x, y = batch()
    whole, want = gradients(model, x, y, 16)
    micro = MicroBatches(NextToken(run_out_at(model, 8, calls)), model, 16, told.append)
    loss = micro.gradients((x, y))
    assert calls == [16, 8, 8, 4, 4, 4, 4]
    assert (told, micro.rows) == ([8, 4], 4)
    assert distance(loss, whole) < 1e-5
    for name, p in model.named_parameters():
        assert distance(p.grad, want[name]) < 1e-5
    calls[:] = [0, 0, 0]
    micro.gradients((x, y))  # it stays so
    assert calls[3:] == [4, 4, 4, 4]


def test_not_even_one_row():
    model, told = tiny_model(), []
    x, y = batch(rows=3)
    micro = MicroBatches(NextToken(run_out_at(model, 0, [])), model, 3, told.append)
    with pytest.raises(ValueError, match=r"a single row of shape \(16,\) does not fit"):
        micro.gradients((x, y))
    assert told == [2, 1]


def test_other_errors_pass():
    def loss_sum(x, y):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        MicroBatches(NextToken(loss_sum), tiny_model(), 4, print).gradients(batch())


@pytest.mark.parametrize(
    ("batch_size", "most", "rows"),
    [
        (16, 5, 4), (16, 99, 16), (7, 3, 3), (12, 6, 6), (1, 0, 1), (97, 96, 49), (97, 32, 25),
        (31, 1, 1), (10, 4, 2),
        (8, 1, 1), (8, 0, 1),
    ],
)  # fmt: skip
def test_default_rows(batch_size, most, rows):
    assert default_rows(batch_size, most) == rows


def test_an_objective_that_is_a_mean_over_rows():
    model = torch.nn.Linear(3, 2)
    rows = {"x": torch.randn(7, 3), "y": torch.randn(7, 2)}
    loss = lambda batch: (model(batch["x"]) - batch["y"]).square().mean()  # noqa: E731
    loss(rows).backward()
    want = model.weight.grad.clone()
    model.zero_grad()
    found = accumulate(MeanOverRows(loss), rows, 3)
    assert distance(found, loss(rows).detach()) < 1e-6
    assert distance(model.weight.grad, want) < 1e-6


def test_rows_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"same first dimension.*\(7, 3\), \(6, 2\)"):
        accumulate(MeanOverRows(lambda b: b), [torch.zeros(7, 3), torch.zeros(6, 2)], 3)
