"""The loss and its gradient: by hand on three tokens, and against NumPy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bytemill.lm.model.config import ModelConfig
from bytemill.lm.stages.rl import objective as module
from bytemill.lm.stages.rl.objective import PolicyGradient, k3, token_log_probs
from bytemill.lm.stages.rl.rollouts import Rollout
from bytemill.lm.stages.rl.rows import Row, tensors_of
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.lm.train.steps.accumulate import accumulate
from tests.support.lm_runs import tiny_model
from tests.support.one_thread import one_thread  # noqa: F401

CPU = torch.device("cpu")


class Toy(nn.Module):
    """Three tokens; the next one depends on the last one alone, by a table of logits."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float64))
        sizes = {"vocab_size": 3, "context_length": 8, "d_model": 8, "n_layer": 1, "n_head": 1}
        self.config = ModelConfig.preset("gpt", **sizes)

    def hidden(self, ids):
        return self.table[ids]

    def logits(self, hidden):
        return hidden


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rollout(ids, mask):
    return Rollout(0, [0], ids, mask, True, 0.0)


def test_tokens_are_counted_without_padding():
    rows = [Row.of(rollout([1, 0, 2], [1, 1, 1]), 1.0), Row.of(rollout([2], [1]), -1.0)]
    rows.append(Row([0, 1, 1, 1], [-1, 2, -1, -1], 0.5, is_replayed=True))
    objective = PolicyGradient(Toy([[0.0] * 3] * 3), RlSettings())
    assert int(objective.tokens(tensors_of(rows, CPU))) == 3 + 1 + 2
    # A row that only keeps a rank in step has none.
    assert int(objective.tokens(tensors_of([], CPU))) == 0


def test_a_policy_gradient_by_hand():
    # From token 0 all three are equally likely; from 1 they are 1/2, 1/4, 1/4.
    model = Toy([[0.0, 0.0, 0.0], [np.log(2.0), 0.0, 0.0], [0.0, 5.0, 0.0]])
    rows = [
        Row.of(rollout([1, 0], [1, 1]), 0.75),  # 0 -> 1 -> 0
        Row.of(rollout([2], [1]), -0.25),  # 0 -> 2
        Row.of(rollout([1, 2, 0], [1, 0, 0]), -0.5),  # 0 -> 1, then what a tool wrote
    ]
    # -A (onehot - p) for each token that counts, over their number, 4:
    # from 0: .75 to 1, -.25 to 2, -.5 to 1; from 1: .75 to 0.
    third = np.full(3, 1 / 3)
    from_0 = -(0.75 - 0.5) * (np.eye(3)[1] - third) + 0.25 * (np.eye(3)[2] - third)
    from_1 = -0.75 * (np.eye(3)[0] - [0.5, 0.25, 0.25])
    expected = np.stack([from_0, from_1, np.zeros(3)]) / 4
    batch = tensors_of(rows, CPU)
    assert int(PolicyGradient(model, RlSettings()).count(batch)) == 4
    for n_rows in (1, 2, 3):
        model.zero_grad()
        loss = accumulate(PolicyGradient(model, RlSettings()), batch, n_rows)
        np.testing.assert_allclose(model.table.grad.numpy(), expected, atol=1e-7)
        by_hand = 0.75 * np.log(3) - 0.25 * np.log(3) - 0.5 * np.log(3) + 0.75 * np.log(2)
        assert float(loss) == pytest.approx(by_hand / 4, abs=1e-6)


def naive(table, rows, before, reference, clip, kl):
    """The summed loss and what counts, a token at a time, in NumPy."""
    p = softmax(np.asarray(table))
    total, n, n_clipped, divergence = 0.0, 0, 0, 0.0
    for row in rows:
        for i, target in enumerate(row.targets):
            if target == -1:
                continue
            log_p = np.log(p[row.ids[i], target])
            if row.is_replayed:
                total -= row.weight * log_p
                continue
            n += 1
            here = row.ids[i], target
            a = row.weight
            if clip is None:
                total -= a * log_p
            else:
                ratio = np.exp(log_p - np.log(softmax(before)[here]))
                held = min(max(ratio, 1 - clip), 1 + clip)
                total -= min(ratio * a, held * a)
                n_clipped += held * a < ratio * a
            if kl is not None:
                d = np.log(softmax(reference)[here]) - log_p
                divergence += np.exp(d) - d - 1
                total += kl * (np.exp(d) - d - 1)
    return total / n, n, n_clipped, divergence


@pytest.mark.parametrize(("clip", "kl"), [(None, None), (0.2, None), (None, 0.3), (0.1, 0.5)])
def test_clip_and_divergence_against_numpy(clip, kl):
    random = np.random.default_rng(3)
    table, before, reference = random.normal(size=(3, 3, 3))
    before = table + 0.3 * before
    rows = []
    for _ in range(12):
        n = int(random.integers(1, 6))
        ids, mask = random.integers(0, 3, n).tolist(), random.integers(0, 2, n).tolist()
        rows.append(Row.of(rollout(ids, mask), float(random.normal())))
    rows[3] = Row(rows[3].ids, rows[3].targets, 0.7, is_replayed=True)
    model = Toy(table)
    batch = tensors_of(rows, CPU)
    with torch.no_grad():
        if clip is not None:
            batch["before"] = token_log_probs(Toy(before), batch, 5)
        # Where no divergence is asked for it does not count.
        batch["reference"] = token_log_probs(Toy(reference), batch, 5)
    objective = PolicyGradient(model, RlSettings(clip=clip, kl=kl))
    loss = accumulate(objective, batch, 5)
    expected, n, n_clipped, divergence = naive(table, rows, before, reference, clip, kl)
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    sums = objective.take_sums()
    assert sums.dtype == torch.float64  # counts of a long run are whole numbers there
    sums = sums.tolist()
    assert sums[:2] == [n, n_clipped]
    assert sums[2] == pytest.approx(divergence, abs=1e-4)
    assert objective.take_sums().tolist() == [0, 0, 0]
    if clip is not None:
        assert 0 < n_clipped < n  # both sides of the clip are tried
    step = 1e-5
    for index in np.ndindex(3, 3):
        up, down = table.copy(), table.copy()
        up[index] += step
        down[index] -= step
        ends = [naive(one, rows, before, reference, clip, kl)[0] for one in (up, down)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(model.table.grad[index]) == pytest.approx(slope, abs=1e-5)


def test_the_first_step_of_a_batch_with_a_clip_has_the_plain_gradient():
    rows = [Row.of(rollout([1, 0], [1, 1]), 0.75), Row.of(rollout([2, 1], [1, 1]), -0.75)]
    grads = []
    for settings in (RlSettings(), RlSettings(clip=0.2)):
        model = Toy([[0.1, 0.2, 0.3], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        accumulate(PolicyGradient(model, settings), tensors_of(rows, CPU), 2)
        grads.append(model.table.grad)
    torch.testing.assert_close(*grads)


def test_the_estimate_has_the_divergence_as_its_mean():
    random = np.random.default_rng(0)
    p, q = softmax(random.normal(size=(2, 3)))
    found = k3(torch.tensor(np.log(p)), torch.tensor(np.log(q))).numpy()
    assert found.min() >= 0
    assert (p * found).sum() == pytest.approx((p * np.log(p / q)).sum())


def rows_of_a_model(n=7):
    random = np.random.default_rng(5)
    rows = []
    for _ in range(n):
        length = int(random.integers(2, 12))
        ids = random.integers(0, 64, length).tolist()
        mask = random.integers(0, 2, length).tolist()
        rows.append(Row.of(Rollout(0, [1, 2, 3], ids, mask, True, 0), float(random.normal())))
    return rows


def test_log_probabilities_are_those_of_all_logits():
    model = tiny_model()
    batch = tensors_of(rows_of_a_model(), CPU)
    targets = batch["targets"]
    with torch.no_grad():
        full = model(batch["ids"]).log_softmax(-1)
    expected = full.gather(-1, targets.clamp_min(0)[..., None])[..., 0] * (targets != -1)
    for rows in (1, 3, 7):
        found = token_log_probs(model, batch, rows)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
        assert expected.abs().max() > 1


def test_a_few_logits_at_a_time_give_the_same_gradients(monkeypatch):
    grads = []
    for size in (1000, 3):
        monkeypatch.setattr(module, "rows_of_chunk", lambda *_, size=size: size)
        model = tiny_model()
        accumulate(PolicyGradient(model, RlSettings()), tensors_of(rows_of_a_model(), CPU), 7)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert grads[0].norm() > 1e-3
    assert (grads[0] - grads[1]).norm() < 1e-4 * grads[0].norm()


def test_bfloat16_is_near():
    rows, found = rows_of_a_model(), []
    for dtype in (None, torch.bfloat16):
        model = tiny_model()

        def computing(dtype=dtype):
            return torch.autocast("cpu", dtype=dtype, enabled=dtype is not None)

        objective = PolicyGradient(model, RlSettings(), computing)
        accumulate(objective, tensors_of(rows, CPU), 4)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    distance = (found[0] - found[1]).norm() / found[0].norm()
    assert 0 < distance < 0.1


def test_a_rank_without_rows_keeps_step():
    model = tiny_model()
    batch = tensors_of([], CPU)
    objective = PolicyGradient(model, RlSettings(clip=0.2))
    assert int(objective.count(batch)) == 0
    assert float(accumulate(objective, batch, 4)) == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_prompt_and_tool_do_not_count_and_the_stop_token_does():
    one = Rollout(0, [7, 8], [10, 11, 12, 13, 9], [1, 0, 0, 1, 1], True, 1.0)
    row = Row.of(one, 0.5)
    assert row.ids == [7, 8, 10, 11, 12, 13]
    assert row.targets == [-1, 10, -1, -1, 13, 9]
    assert row.n_counted == 3
