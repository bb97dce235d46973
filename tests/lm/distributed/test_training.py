"""Whole runs on one, two and four processes: the same batches, losses and checkpoints."""

import os
import signal

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.distributed.costs import rank_costs
from bytemill.lm.distributed.group import FailedElsewhereError
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.train import TrainConfig, fit
from bytemill.lm.train.events import Stepped
from bytemill.lm.train.plan import plan
from bytemill.lm.train.steps.world import Alone
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.rank_runs import EVERY, KINDS, Watched, close, make_data, same_rows, settings
from tests.support.ranks import on_ranks, threads_left


def out_of_memory(watched):
    """Memory runs out on rank 1 at the third step, for two rows but not for one."""
    if watched.world.rank == 1 and len(watched.rows) == 2:
        trainer = watched.trainer
        objective = trainer._loop._micro._objective
        inner = objective.loss_sum

        def loss_sum(batch):
            if len(batch[0]) > 1:
                raise RuntimeError("not enough memory: you tried to allocate 1 byte")
            return inner(batch)

        objective.loss_sum = loss_sum


def stop(watched):
    """Rank 1 alone is asked to stop."""
    if watched.world.rank == 1 and len(watched.rows) == 6:
        watched.trainer.stop()


def on_two(group, folder):
    """All that two ranks are asked, in one go."""
    found = {}
    for kind in KINDS:
        found[kind] = Watched(settings(folder, kind, out=str(folder / f"two-{kind}")), group).run()
    short = settings(folder, "muon", steps=12, eval_every=0)
    for name in ("once", "again"):
        found[name] = Watched(short.but(out=str(folder / name)), group).run()
    halved = short.but(out=str(folder / "halved"))
    found["halved"] = Watched(halved, group, on_step=out_of_memory).run()
    stopped = short.but(out=str(folder / "stopped"))
    found["stopped"] = Watched(stopped, group, on_step=stop).run()
    refused = short.but(out=str(folder / "refused"), seed=group.rank)
    try:
        Watched(refused, group).run()
    except Exception as error:
        found["refused"] = type(error).__name__, str(error)
    found["few rows"] = None
    try:
        Watched(short.but(out=str(folder / "few"), batch_size=1), group).run()
    except (ValueError, FailedElsewhereError) as error:
        found["few rows"] = type(error).__name__, str(error)
    return found


def fitted(group=None, seed=0):
    """A module of one's own, trained by `fit`: losses, where they are told, and weights."""
    random = torch.Generator().manual_seed(0)
    batches = [torch.randn(5, 3, generator=random) for _ in range(8)]
    torch.manual_seed(seed)
    model, losses = torch.nn.Linear(3, 1), []

    def loss(model, batch):
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    fit(
        model, batches, loss,
        torch.optim.AdamW(model.parameters(), lr=0.1), steps=8,
        callbacks=[lambda _, event: isinstance(event, Stepped) and losses.append(event.loss)],
        world=Alone() if group is None else Ranks(group),
    )  # fmt: skip
    return losses, [weight.detach().clone() for weight in model.parameters()]


def fitted_by_two(group):
    good = fitted(group)
    try:
        fitted(group, seed=group.rank)
    except Exception as error:
        return good, (type(error).__name__, str(error))


def test_a_module_of_ones_own_is_trained_by_ranks_that_began_alike():
    (first, refused), (second, _) = on_ranks(2, fitted_by_two)
    assert threads_left == [0, 0]  # an interpreter that ends under one may abort
    losses, weights = fitted()
    torch.testing.assert_close(first[0], losses, rtol=0, atol=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    for found in (first[1], second[1]):
        torch.testing.assert_close(found, weights)
    assert refused[0] == "ValueError"
    assert "rank 1 has weights to begin with" in refused[1]


def on_four(group, folder):
    return Watched(settings(folder, "adamw", out=str(folder / "four")), group).run()


def killed(group, folder):
    """Rank 1 is killed four steps after a checkpoint."""

    def kill(watched):
        if group.rank == 1 and len(watched.rows) == EVERY + 4:
            os.kill(os.getpid(), signal.SIGKILL)

    Watched(settings(folder, "muon", checkpoint_every=EVERY), group, on_step=kill).run()


def resumed(group, folder):
    return Watched(settings(folder, "muon", checkpoint_every=EVERY), group, resume=True).run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def alone(folder):
    """The runs of one process."""
    return {
        kind: Watched(settings(folder, kind, out=str(folder / f"one-{kind}"))).run()
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def two(folder):
    return on_ranks(2, on_two, folder)


@pytest.mark.parametrize("kind", list(KINDS))
def test_two_ranks_train_as_one_process_does(kind, alone, two):
    first, second = (found[kind] for found in two)
    one = alone[kind]
    assert len(first["steps"]) == 2 * EVERY
    close(first["steps"], one["steps"])
    close(first["validation"], one["validation"])
    close(second["validation"], one["validation"])
    assert same_rows([first, second], one["rows"])
    assert second["steps"] == []  # one tells
    # The losses fall by more than a thousand times what they may differ by.
    assert one["steps"][0][0] - one["steps"][-1][0] > 1e-2


def test_four_ranks_that_do_not_divide_the_batch_train_as_one_process_does(folder, alone):
    by_rank = on_ranks(4, on_four, folder)
    close(by_rank[0]["steps"], alone["adamw"]["steps"])
    assert same_rows(by_rank, alone["adamw"]["rows"])
    assert [len(found["rows"][0]) for found in by_rank] == [2, 2, 1, 1]


def test_ranks_give_the_same_bits_again(folder, two):
    first = two[0]
    assert first["once"]["steps"] == first["again"]["steps"]
    files = (CheckpointStore(folder / name).last().files for name in ("once", "again"))
    assert next(files) == next(files)


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_of_two_ranks_keeps_half_of_the_optimizer(kind, alone, two):
    for found in two:
        assert found[kind]["optimizer bytes"] <= 0.55 * alone[kind]["optimizer bytes"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_account_of_the_optimizer_is_what_it_takes(kind, folder, two):
    of = settings(folder, kind)
    planned = plan(of.model, of.optimizer, of.schedule, 280, dial="cpu")
    costs = rank_costs(planned.model, planned.optimizer, 2)
    most = max(found[kind]["optimizer bytes"] for found in two)
    # AdamW counts its steps for each parameter, in four bytes.
    assert costs.optimizer <= most <= costs.optimizer + 4 * 40


def test_when_memory_runs_out_on_one_rank_all_take_fewer_rows(two):
    first, second = (found["halved"] for found in two)
    assert first["ran out"] == [(3, 1)]
    assert first["micro-batch"] == second["micro-batch"] == 1
    close(first["steps"], two[0]["once"]["steps"])
    assert first["rows"] == two[0]["once"]["rows"]


def test_a_rank_that_is_asked_to_stop_stops_all_at_one_step(folder, two):
    first, second = (found["stopped"] for found in two)
    assert first["at"] == second["at"] == 7
    assert CheckpointStore(folder / "stopped").steps() == [7]


def test_ranks_that_would_train_something_else_are_refused(folder, two):
    first, second = (found["refused"] for found in two)
    assert first[0] == "ValueError"
    assert "rank 1 has seed 1, rank 0 0" in first[1]
    assert second[0] == "FailedElsewhereError"
    assert not (folder / "refused").exists()


def test_fewer_rows_than_ranks_are_refused(folder, two):
    kind, text = two[0]["few rows"]
    assert kind == "ValueError"
    assert "batch_size=1: 2 processes need a row each" in text
    assert not (folder / "few").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_of_two_ranks_that_is_killed_goes_on_on_four_and_on_one(folder, alone):
    # On a machine that is very busy its silence is noticed before its closed connections are.
    lost = r"rank 0 ends: rank 1 has (died|given no sign of life for \d+ s)"
    with pytest.raises(AssertionError, match=lost):
        on_ranks(2, killed, folder, expect_death=[1])
    run = settings(folder, "muon").run
    assert CheckpointStore(run.out).steps() == [EVERY]
    expected = {name: alone["muon"][name][EVERY:] for name in ("steps", "rows")}
    # On one, up to the next checkpoint's step but not into it, so that four begin there.
    one = Watched(
        settings(folder, "muon", checkpoint_every=EVERY), resume=True,
        on_step=lambda watched: watched.trainer.stop() if len(watched.rows) == 9 else None,
    )  # fmt: skip
    found = one.run()
    assert found["rows"] == expected["rows"][:10]
    close(found["steps"], expected["steps"][:10])
    assert CheckpointStore(run.out).steps() == [EVERY, EVERY + 10]
    by_rank = on_ranks(4, resumed, folder)
    assert same_rows(by_rank, expected["rows"][10:])
    close(by_rank[0]["steps"], expected["steps"][10:])
    assert isinstance(TrainConfig.load(f"{run.out}/config.json"), TrainConfig)
