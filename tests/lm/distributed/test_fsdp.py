"""FSDP2: runs on ranks of which none has all weights, against one process and against ZeRO-2."""

import shutil

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.state import read_file
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.distributed.costs import rank_costs
from bytemill.lm.distributed.group import FailedElsewhereError
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.train import fit
from bytemill.lm.train.events import Stepped
from bytemill.lm.train.plan import plan
from bytemill.lm.train.steps.world import Alone
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.rank_runs import Watched, close, make_data, same_rows
from tests.support.rank_runs import settings as any_settings
from tests.support.ranks import RankError, on_ranks

# The last has scalars of which some ranks have none, value embeddings and second moments; it makes
# few steps, as its Newton-Schulz steps make much of what is rounded otherwise.
KINDS = {
    "adamw": {"optimizer": "adamw", "loader": "windows", "preset": "cs336"},
    "muon": {"optimizer": "muon", "loader": "documents", "preset": "gpt", "ns_steps": 5},
    "recipe": {"optimizer": "muon", "preset": "nanochat-2026", "steps": 5},
}
EVERY = 15


def settings(folder, kind, name, **changes):
    fields = {
        "out": str(folder / f"{name}-{kind}"), "steps": 2 * EVERY, "batch_size": 8,
        "eval_every": 0, "checkpoint_every": EVERY, **KINDS[kind],
    }  # fmt: skip
    return any_settings(folder, "adamw", **{**fields, **changes})


def of_steps(kind):
    return KINDS[kind].get("steps", 2 * EVERY)


def sharded(folder, kind, name, **changes):
    return settings(folder, kind, name, shard="fsdp", **changes)


def from_two(folder, name, **changes):
    """A short run that begins with another one's weights and optimizer."""
    begin = {"init_from": str(folder / "two-muon"), "init_optimizer": True, "steps": 3}
    return settings(folder, "muon", name, **{**begin, "checkpoint_every": 0, **changes})


def on_two(group, folder):
    found = {kind: Watched(sharded(folder, kind, "two"), group).run() for kind in KINDS}
    found["begun"] = Watched(from_two(folder, "begun", shard="fsdp"), group).run()
    found["refused"] = []
    few = {"steps": 1, "checkpoint_every": 0}
    for wrong in ({"ema": 0.9}, {"sample_every": 1}, {"compile": "on"}, {"batch_size": 7}):
        try:
            Watched(sharded(folder, "adamw", "refused", **few, **wrong), group).run()
        except (ValueError, FailedElsewhereError) as error:
            found["refused"].append(str(error))
    found["own"] = fitted(group)
    return found


def on_four(group, folder):
    few = {"checkpoint_every": 0}
    return [Watched(sharded(folder, k, "four", **few), group).run() for k in ("muon", "recipe")]


def resumed(group, folder):
    return Watched(settings(folder, "muon", "zero2"), group, resume=True).run()


def out_of_memory(watched):
    """Memory runs out on rank 1."""

    def loss_sum(batch):
        raise RuntimeError("not enough memory: you tried to allocate 1 byte")

    if watched.world.rank == 1:
        watched.trainer._loop._micro._objective.loss_sum = loss_sum


def short_of_memory(group, folder):
    Watched(sharded(folder, "adamw", "short"), group, on_step=out_of_memory).run()


class Own(torch.nn.Module):
    """Layers in a list, and matrices of fewer rows than there are ranks."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(2))
        self.last = torch.nn.Linear(3, 1)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).tanh()
        return self.last(x)


def fitted(group=None):
    random = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 3, generator=random) for _ in range(8)]
    torch.manual_seed(0)
    model, losses = Own(), []

    def loss(model, batch):
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    fit(
        model, batches, loss,
        torch.optim.AdamW(model.parameters(), lr=0.1), steps=8, rows=1, grad_clip=1.0,
        callbacks=[lambda _, event: isinstance(event, Stepped) and losses.append(event.loss)],
        world=Alone() if group is None else Ranks(group), shard="fsdp",
    )  # fmt: skip
    return losses


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("fsdp"))


@pytest.fixture(scope="module")
def alone(folder):
    return {kind: Watched(settings(folder, kind, "one")).run() for kind in KINDS}


@pytest.fixture(scope="module")
def two(folder):
    return on_ranks(2, on_two, folder)


@pytest.mark.parametrize("kind", list(KINDS))
def test_two_ranks_train_as_one_process_does(kind, folder, alone, two):
    one, first, second = alone[kind], *(found[kind] for found in two)
    assert len(first["steps"]) == of_steps(kind)
    close(first["steps"], one["steps"])
    close(first["validation"], one["validation"])
    close(second["validation"], one["validation"])
    assert same_rows([first, second], one["rows"])
    assert one["steps"][0][0] - one["steps"][-1][0] > 1e-2
    # The checkpoints hold the same, whole and under the same names.
    wanted, found = (CheckpointStore(folder / f"{name}-{kind}").last() for name in ("one", "two"))
    for file in wanted.files:
        tensors = read_file(found.path / file)
        for name, tensor in read_file(wanted.path / file).items():
            apart = (tensors.pop(name).float() - tensor.float()).norm()
            assert apart <= 1e-2 * tensor.float().norm(), name
        assert not tensors


def test_four_ranks_train_as_one_process_does(folder, alone):
    by_rank = on_ranks(4, on_four, folder)
    for kind, found in zip(("muon", "recipe"), zip(*by_rank, strict=True), strict=True):
        close(found[0]["steps"], alone[kind]["steps"])
        assert same_rows(found, alone[kind]["rows"])


def test_what_fsdp_saved_goes_on_on_one_process_and_on_two_of_zero2(folder, alone, two):
    expected = alone["muon"]["steps"][EVERY:]
    for name in ("single", "zero2"):
        shutil.copytree(folder / "two-muon", folder / f"{name}-muon")
        shutil.rmtree(CheckpointStore(folder / f"{name}-muon").path(2 * EVERY))
    single = Watched(settings(folder, "muon", "single"), resume=True).run()
    close(single["steps"], expected)
    close(on_ranks(2, resumed, folder)[0]["steps"], expected)


def test_a_run_begins_with_another_ones_weights_and_optimizer(folder, alone, two):
    wanted = Watched(from_two(folder, "begun-alone")).run()
    close(two[0]["begun"]["steps"], wanted["steps"])
    assert abs(wanted["steps"][0][0] - alone["muon"]["steps"][0][0]) > 0.1  # not a new model's


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_account_is_what_ranks_keep(kind, folder, alone, two):
    of = settings(folder, kind, "two")
    planned = plan(of.model, of.optimizer, of.schedule, 280, dial="cpu")
    costs = rank_costs(planned.model, planned.optimizer, 2, "fsdp", dtype="float32")
    most = {name: max(found[kind][name] for found in two) for name in alone[kind]
            if name.endswith("bytes")}  # fmt: skip
    # AdamW counts its steps for each parameter, in four bytes.
    assert costs.optimizer <= most["optimizer bytes"] <= costs.optimizer + 4 * 40
    assert costs.weights - costs.gathered == most["weight bytes"]
    for name, bytes_ in most.items():
        assert bytes_ <= 0.55 * alone[kind][name]


def test_what_needs_all_weights_is_refused_by_name(folder, two):
    ema, sample, compile_, rows = two[0]["refused"]
    assert 'ema=0.9: it does not go with shard="fsdp"' in ema
    assert "sample_every=1" in sample and "bytemill generate" in sample
    assert "compile='on'" in compile_
    assert "batch_size=7" in rows and "a multiple of 2" in rows
    assert not (folder / "refused-adamw").exists()


def test_a_rank_whose_memory_runs_out_says_what_helps(folder):
    with pytest.raises(RankError) as found:
        on_ranks(2, short_of_memory, folder)
    assert "memory ran out on rank 1" in str(found.value)
    assert "a smaller micro_batch_size" in str(found.value)


def test_a_module_of_ones_own(two):
    losses = fitted()
    close(two[0]["own"], losses)
    assert losses[-1] < 0.5 * losses[0]
