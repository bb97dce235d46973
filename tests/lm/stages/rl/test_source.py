"""Batches that the model writes: resumed wherever a run is killed, by any number of ranks."""

import json
import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.stages.rl.objective import PolicyGradient, token_log_probs
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.lm.stages.rl.source import RolloutSource
from bytemill.lm.train.fit import fit
from bytemill.lm.train.steps.world import ALONE
from tests.support.chats import chat_tokenizer
from tests.support.faulty_server import wait_until
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.ranks import on_ranks
from tests.support.rewards import Lengths, assistant

SETTINGS = {
    "questions": 3, "samples": 4, "max_new_tokens": 8, "top_k": 30, "updates": 3, "clip": 0.2,
    "kl": 0.1, "replay_rows": 2, "truncated": "keep",
}  # fmt: skip
STEPS = 5  # the second batch is not used up


class Replayed:
    """Two rows a step, unevenly masked."""

    def __init__(self):
        self.at = 0

    def next_batch(self):
        random = np.random.default_rng(self.at)
        self.at += 1
        ids = torch.from_numpy(random.integers(0, 300, (2, 12)))
        targets = torch.from_numpy(random.integers(0, 300, (2, 12)))
        targets[0, :9] = -1
        return ids, targets

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def parts(world=ALONE, task=None, **changes):
    """A model, its source and its objective."""
    settings = RlSettings(**{**SETTINGS, **changes})
    model = assistant()
    source = RolloutSource(
        model,
        Renderer(chat_tokenizer()),
        task or Lengths(),
        settings,
        seed=2,
        world=world,
        replay=Replayed(),
        reference=assistant().requires_grad_(False),
        rows=5,
    )
    return model, source, PolicyGradient(model, settings)


class Killed(BaseException):
    pass


def run(out, world=ALONE, *, task=None, steps=STEPS, callbacks=(), end=None, **changes):
    """Trains into a folder, and goes on where a run is there; the model."""
    model, source, objective = parts(world, task, **changes)
    if end is not None:
        plain, calls = objective.loss_sum, iter(range(1000))
        objective.loss_sum = lambda batch: end() if next(calls) == 5 else plain(batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    fit(
        model, source, objective, optimizer, steps,
        rows=7, out=out, resume=True, checkpoint_every=1, world=world, callbacks=callbacks,
    )  # fmt: skip
    return model


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return weights(run(tmp_path_factory.mktemp("whole") / "run"))


def test_the_run_learns(undisturbed):
    assert (undisturbed - weights(assistant())).abs().max() > 1e-3


class Ending(Lengths):
    """Ends the process at a judgement."""

    def __init__(self, n, end):
        super().__init__()
        self.n, self.end = n, end

    def judge(self, item, reply):
        self.n -= 1
        if not self.n:
            self.end()
        return super().judge(item, reply)


def _killed(group, out, where):
    def end():
        wait_until(CheckpointStore(out).steps)  # a thread writes it
        os.kill(os.getpid(), signal.SIGKILL)

    # 12 judgements a batch; one is made to find out whether there can be any.
    if where == "rollout":
        run(out, task=Ending(1 + 12 + 7, end))
    run(out, end=end)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("where", ["rollout", "update"])
def test_killed_in_a_rollout_or_an_update(where, undisturbed, tmp_path):
    on_ranks(1, _killed, tmp_path / "run", where, expect_death=(0,))
    made = CheckpointStore(tmp_path / "run").last().step
    # The last checkpoint may still have been being written.
    assert 0 < made < STEPS
    assert torch.equal(weights(run(tmp_path / "run")), undisturbed)


def test_stopped_between_the_steps_of_a_batch(undisturbed, tmp_path):
    for stop in (1, 2, 4):

        def listen(loop, event, stop=stop):
            if loop.step == stop:
                loop.stop()

        run(tmp_path / "run", callbacks=[listen])
        state = CheckpointStore(tmp_path / "run").last().extra["loop"]["batches"]
        assert state["left"] == -stop % 3 and len(state["held"]) > 0
    assert torch.equal(weights(run(tmp_path / "run")), undisturbed)


def _on_ranks(group, out):
    return weights(run(out, Ranks(group)))


def test_two_ranks_are_one_within_rounding(undisturbed, tmp_path):
    first, second = on_ranks(2, _on_ranks, tmp_path / "run")
    assert torch.equal(first, second)
    change = (undisturbed - weights(assistant())).norm()
    assert (first - undisturbed).norm() < 1e-3 * change
    # What was begun by two goes on by one.
    last = CheckpointStore(tmp_path / "run").last()
    assert last.step == STEPS and len(last.extra["loop"]["batches"]["held"]) > 0
    run(tmp_path / "run", steps=STEPS + 2)


def test_all_ranks_rows_are_those_of_one():
    _, source, _ = parts()
    whole = source.next_batch()
    assert source.take_figures()["reward"] > 0 and source.take_figures() == {}
    shares = []
    for rank in range(3):
        # Alone, so that it asks all of the questions itself.
        _, one, _ = parts()
        one._begin(0, 1)
        shares.append(one.next_share(rank, 3))
    assert sum(len(share["ids"]) for share in shares) == len(whole["ids"])
    assert sum(int((s["targets"] != -1).sum()) for s in shares) == (whole["targets"] != -1).sum()


def test_probabilities_at_the_time_of_the_rollout_stay():
    model, source, _ = parts()
    first = source.next_batch()
    expected = token_log_probs(model, first, 100)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    second = source.next_batch()
    own = ~first["replayed"]
    assert first["replayed"].sum() == 2 and own.sum() > 4
    for batch in (first, second):
        torch.testing.assert_close(batch["before"][own], expected[own], atol=1e-5, rtol=0)
        torch.testing.assert_close(batch["reference"][own], expected[own], atol=1e-5, rtol=0)
    assert (token_log_probs(model, second, 100) - expected)[own].abs().max() > 0.01


def test_replayed_rows_add_their_mean_loss_times_the_weight():
    model, source, objective = parts(updates=1, clip=None, kl=None, replay_weight=0.25)
    batch = source.next_batch()
    ids, targets = Replayed().next_batch()
    expected = 0.25 * model.loss(ids, targets)
    alone = {name: part[batch["replayed"]] for name, part in batch.items()}
    found = objective.loss_sum(alone) / objective.count(batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(objective.count(batch)) == int((batch["targets"][~batch["replayed"]] != -1).sum())


def test_the_state_is_json_and_is_checked():
    _, source, _ = parts()
    source.next_batch()
    state = json.loads(json.dumps(source.state_dict()))
    _, other, _ = parts()
    other.load_state_dict(state)
    expected, found = source.next_batch(), other.next_batch()
    assert expected.keys() == found.keys() >= {"before", "reference"}
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    state["held"][0]["before"].pop()
    with pytest.raises(ValueError, match="do not go together"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="replay"):
        parts(replay_rows=0)[1].load_state_dict(json.loads(json.dumps(source.state_dict())))


def test_what_is_missing_is_named():
    model = assistant()
    renderer = Renderer(chat_tokenizer())
    for field in ({"kl": 0.1}, {"replay_rows": 2}):
        with pytest.raises(ValueError, match=f"{next(iter(field))}="):
            RolloutSource(model, renderer, Lengths(), RlSettings(**field))
