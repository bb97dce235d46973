"""`fit`: modules, batches and losses of one's own."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore, find_checkpoint
from bytemill.lm.train import NonFiniteLossError, fit
from bytemill.lm.train.events import MemoryRanOut, Saved, Stepped, Validated
from bytemill.lm.train.metrics import read_metrics


class Draws:
    """Rows from a seed and a place: an iterable with state, of dicts, that has no end."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while True:
            self.at += 1
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(self.at))
            yield {"x": x, "y": x.sum(1, keepdim=True), "name": "draws"}

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def loss(model, batch):
    return (model(batch["x"]) - batch["y"]).square().mean()


def run(out, steps=12, *, stop_at=None, callbacks=(), width=4, **options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, width), torch.nn.Dropout(0.3), torch.nn.Linear(width, 1)
    )
    optimizers = [
        torch.optim.AdamW(model[0].parameters(), lr=1e-2),
        torch.optim.SGD(model[2].parameters(), lr=1e-2, momentum=0.9),
    ]

    def stop(loop, event):
        if isinstance(event, Stepped) and event.step == stop_at:
            loop.stop()

    return fit(
        model, Draws(), loss, optimizers, steps, out=out, callbacks=[stop, *callbacks], **options
    )


def weights(loop):
    return [weight.clone() for weight in loop.model.parameters()]


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path, stop_at):
    straight = run(tmp_path / "straight", rows=3)
    stopped = run(tmp_path / "run", stop_at=stop_at, rows=3)
    assert (stopped.step, stopped.is_finished) == (stop_at, False)
    torch.rand(17)
    resumed = run(tmp_path / "run", resume=True, rows=3)
    assert (resumed.step, resumed.is_finished) == (12, True)
    assert all(map(torch.equal, weights(resumed), weights(straight)))
    assert not all(map(torch.equal, weights(stopped), weights(straight)))
    one, other = (CheckpointStore(tmp_path / name).last().files for name in ("run", "straight"))
    assert one == other


def test_more_steps_are_those_of_a_longer_run(tmp_path):
    longer = run(tmp_path / "longer", 15)
    run(tmp_path / "run", 12)
    again = run(tmp_path / "run", 15, resume=True)
    assert again.step == 15
    assert all(map(torch.equal, weights(again), weights(longer)))


def test_a_callback_sees_and_changes_the_loop(tmp_path):
    seen = []

    def freeze(loop, event):
        if isinstance(event, Stepped):
            seen.append((event.step, loop.step, loop.model[0].weight.clone()))
            if loop.step == 2:
                loop.optimizers[0].param_groups[0]["lr"] = 0.0

    run(None, 4, callbacks=[freeze])
    assert [at[:2] for at in seen] == [(n, n) for n in (1, 2, 3, 4)]
    assert torch.equal(seen[1][2], seen[3][2]) and not torch.equal(seen[0][2], seen[1][2])


def test_what_a_folder_gets(tmp_path):
    told, losses = [], iter([3.0, 1.0, 2.0])
    loop = run(
        tmp_path / "run", callbacks=[lambda loop, event: told.append(event)], log_every=4,
        eval_every=4, checkpoint_every=4, keep_last=1, validate=lambda: next(losses),
    )  # fmt: skip
    found = [(e.step, e.loss, e.is_best) for e in told if isinstance(e, Validated)]
    assert found == [(4, 3.0, True), (8, 1.0, True), (12, 2.0, False)]
    assert [e.step for e in told if isinstance(e, Saved)] == [4, 8, 12]
    assert CheckpointStore(tmp_path / "run").steps() == [8, 12], "the best and the last"
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [4, 8, 12]
    assert rows[0]["lr_group0"] == 1e-2
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Identity(), torch.nn.Linear(4, 1))
    find_checkpoint(tmp_path / "run", "last").load_weights(other)
    assert all(map(torch.equal, other.parameters(), weights(loop)))


def test_validation_is_in_eval_mode_and_without_gradients():
    seen = []
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def validate():
        seen.append((model.training, torch.is_grad_enabled()))
        return 0.0

    fit(model, Draws(), loss, optimizer, 2, validate=validate)
    assert seen == [(False, False)] and model.training


class Masked:
    """Squares of the rows whose target is not negative."""

    def __init__(self, model):
        self.model = model

    def count(self, batch):
        return (batch["y"] >= 0).sum()

    def loss_sum(self, batch):
        errors = (self.model(batch["x"]) - batch["y"]).square()
        return errors[batch["y"] >= 0].sum()


@pytest.mark.parametrize("rows", [None, 3])
def test_an_objective_counts_over_all_micro_batches(rows):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    batch = next(iter(Draws()))
    keep = batch["y"] >= 0
    assert 0 < keep.sum() < 8
    want = (model(batch["x"]) - batch["y"])[keep].square().mean().item()
    told = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    fit(
        model, Draws(), Masked(model), optimizer, 1, rows=rows,
        callbacks=[lambda loop, event: told.append(event)],
    )  # fmt: skip
    assert [e.loss for e in told if isinstance(e, Stepped)] == [pytest.approx(want, rel=1e-6)]


def test_rows_are_halved_and_stay_so(tmp_path):
    told = []

    class Small(torch.nn.Linear):
        def forward(self, x):
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    def one(steps):
        model = Small(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return fit(
            model, Draws(), loss, optimizer, steps, out=tmp_path / "run", resume=True,
            callbacks=[lambda loop, event: told.append(event)],
        )  # fmt: skip

    assert one(1).rows == 2
    assert one(2).rows == 2
    assert [e.rows for e in told if isinstance(e, MemoryRanOut)] == [4, 2]


def test_what_is_refused(tmp_path):
    run(tmp_path / "run", 2)
    with pytest.raises(ValueError, match="there is a run in this folder already, at step 2"):
        run(tmp_path / "run", 3)
    with pytest.raises(ValueError, match=r"0.weight has shape \(4, 3\) instead of \(5, 3\)"):
        run(tmp_path / "run", 3, resume=True, width=5)
    with pytest.raises(ValueError, match="steps=0"):
        run(None, 0)
    with pytest.raises(TypeError, match="type generator cannot be gone on with"):
        model = torch.nn.Linear(1, 1)
        fit(model, (x for x in []), loss, torch.optim.SGD(model.parameters(), lr=1.0), 1)


def test_a_loss_that_is_no_number():
    with pytest.raises(NonFiniteLossError, match="step 1: the loss is nan"):
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        fit(model, Draws(), lambda m, b: loss(m, b) * float("nan"), optimizer, 2)
