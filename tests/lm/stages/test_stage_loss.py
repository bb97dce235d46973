"""The loss of a stage: over what counts, on ranks, and of how many tokens."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.stages import Asked, MidTraining, Sft, StageStarted
from bytemill.lm.train.events import Stepped
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.steps.accumulate import accumulate
from tests.support.chats import chat_tokenizer
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.ranks import on_ranks
from tests.support.stage_runs import T, mid, of_kind, run, sft, stopped


def naive_loss(model, rows):
    """Mean cross-entropy over all counted targets, one row and one position at a time."""
    total, n = 0.0, 0
    for x, y in rows:
        logits = model(x[None])[0].double()
        for at, target in enumerate(y.tolist()):
            if target != -1:
                total -= torch.log_softmax(logits[at], 0)[target].item()
                n += 1
    return total / n


def uneven_rows(made):
    """Rows of the run's model, whose counted targets are very unequal in number."""
    random = torch.Generator().manual_seed(3)
    x = torch.randint(0, made.plan.model.vocab_size, (6, T), generator=random)
    y = torch.randint(0, made.plan.model.vocab_size, (6, T), generator=random)
    for row, counted in enumerate((1, 60, 2, 0, 17, 3)):
        y[row, : T - counted] = -1
    y[4] = torch.where(torch.arange(T) % 3 == 0, y[4], -1)
    y[5, 2:] = -1
    y[5, :2] = 7
    return x, y


def loss_of_ranks(group, settings):
    made = Sft(settings, world=Ranks(group))
    made.stop()
    made.run()
    x, y = uneven_rows(made)
    share = made.world.share((x, y))
    loss = accumulate(made._objective(), share, 2, world=made.world)
    assert not made.world.any(False)
    made.world.reduce(made.model.parameters())
    norm = made.world.clip(made.model.parameters(), float("inf"))
    return float(made.world.total(loss)), float(norm)


def test_the_loss_is_the_mean_over_what_counts(folder):
    """Unevenly masked rows, all at once, some at a time, and split over ranks, against a naive
    loop over positions."""
    made = stopped(sft(folder, init_optimizer=False))
    with torch.no_grad():
        for weight in made.model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    x, y = uneven_rows(made)
    with torch.no_grad():
        expected = naive_loss(made.model, list(zip(x, y, strict=True)))
    grads = []
    for rows in (1, 4, 6):
        made.model.zero_grad()
        loss = accumulate(made._objective(), (x, y), rows)
        assert float(loss) == pytest.approx(expected, abs=1e-6)
        grads.append([p.grad.clone() for p in made.model.parameters()])
    for other in grads[1:]:
        for one, two in zip(grads[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-4)
    # A mean of the rows' means, which is wrong, is far off.
    counted = [pair for pair in zip(x, y, strict=True) if (pair[1] >= 0).any()]
    of_rows = [naive_loss(made.model, [pair]) for pair in counted]
    assert abs(np.mean(of_rows) - expected) > 1e-3


def both_ranks(group, folder, trained):
    found = [loss_of_ranks(group, trained)]
    for name, stage, settings in two_rank_runs(folder):
        told = []
        settings = settings.but(out=str(folder / f"two-{name}"))
        result = stage(settings, on_event=told.append, world=Ranks(group)).run()
        steps = [(e.loss, e.grad_norm) for e in told if isinstance(e, Stepped)]
        asked = [e.scores for e in told if isinstance(e, Asked)]
        found.append((steps, result.validation.loss, asked))
    return found


def two_rank_runs(folder):
    # Five Newton-Schulz steps: with eight, rounding alone parts two runs.
    common = {"ns_steps": 5, "steps": 12, "batch_size": 5, "ask_every": 12, "checkpoint_every": 6}
    replay = {"replay": f"0.3={folder / 'base'}"}
    return [
        ("mid", MidTraining, mid(folder, **common)),
        ("sft", Sft, sft(folder, rows="best-fit", lr_factor=0.5, **common, **replay)),
    ]


def test_two_ranks_are_one(folder):
    trained = sft(folder, out=str(folder / "set up"))
    (loss, norm), *runs = on_ranks(2, both_ranks, folder, trained)[0]
    made = stopped(trained.but(out=str(folder / "alone")))
    x, y = uneven_rows(made)
    made.model.zero_grad()
    own = accumulate(made._objective(), (x, y), 6)
    assert loss == pytest.approx(float(own), abs=1e-5)
    own_norm = torch.stack([p.grad.square().sum() for p in made.model.parameters()]).sum().sqrt()
    assert norm == pytest.approx(float(own_norm), abs=1e-5)
    for (name, stage, settings), (steps, validation, asked) in zip(
        two_rank_runs(folder), runs, strict=True
    ):
        made, result, told = run(stage, settings.but(out=str(folder / f"one-{name}")))
        alone = [(e.loss, e.grad_norm) for e in of_kind(told, Stepped)]
        assert len(alone) == 12
        np.testing.assert_allclose(steps, alone, rtol=0, atol=1e-5 * max(map(max, alone)))
        assert validation == pytest.approx(result.validation.loss, abs=1e-5)
        assert asked == [e.scores for e in of_kind(told, Asked)]
        # A checkpoint of two ranks is one that one rank goes on from.
        two = CheckpointStore(folder / f"two-{name}").path(6)
        assert two.is_dir()


@pytest.mark.parametrize("rows", ["single", "best-fit", "stream"])
def test_tokens_are_those_that_are_not_padding(rows, folder):
    """The log has the conversations' tokens, and what is said of the rows is about the same."""
    length = 160
    shape = {"rows": rows, "steps": 4, "batch_size": 5, "context_length": length}
    made, _, told = run(Sft, sft(folder, **shape, log_every=1))
    logged = [r["tokens"] for r in read_metrics(folder / "sft" / "metrics.jsonl") if "loss" in r]
    batches = stopped(sft(folder, out=str(folder / "same"), **shape))._source()
    end = chat_tokenizer().special_tokens["<|assistant_end|>"]
    expected = [0]
    for _ in range(4):
        _, y = batches.next_batch()
        # The last target of a padded row ends a conversation.
        empty = [0 if rows == "stream" else row.tolist()[::-1].index(end) for row in y]
        expected.append(expected[-1] + 5 * length - sum(empty))
    assert logged == expected[1:]
    (started,) = of_kind(told, StageStarted)
    share = logged[-1] / (4 * 5 * length)
    assert started.filled == 1.0 if rows == "stream" else abs(started.filled - share) < 0.15
    assert started.counted < started.filled
    assert of_kind(told, Stepped)[-1].tokens == logged[-1]
    assert made._loop.pace.tokens == logged[-1]
