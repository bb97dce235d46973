"""DPO's loss and gradient against NumPy and against an example worked out by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.stages.dpo.objective import Preference, answer_log_probs, figures_of
from bytemill.lm.stages.dpo.pairs import Encoded, EncodedPair, encode_pairs
from bytemill.lm.stages.dpo.source import tensors_of
from bytemill.lm.train.steps.accumulate import accumulate
from tests.support import reference
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.pairs import polite_pairs, write_pairs

CPU = torch.device("cpu")


def pairs_of(tmp_path, n=5):
    path = write_pairs(tmp_path / "pairs.jsonl", polite_pairs(n))
    return encode_pairs(str(path), Renderer(chat_tokenizer()), 64).pairs


def numpy_log_p(config, state, row):
    """log p of an answer, in fp64 and by the formulas."""
    logits = reference.logits(config, state, np.array(row.ids))
    log_z = np.log(np.exp(logits).sum(-1))
    places = [t for t, target in enumerate(row.targets) if target != -1]
    return sum(logits[t, row.targets[t]] - log_z[t] for t in places)


def numpy_loss(config, state, pairs, start, beta):
    """The mean of -log sigmoid(beta ((c - c0) - (r - r0))), as the paper has it."""
    losses = []
    for pair, (chosen0, rejected0) in zip(pairs, start, strict=True):
        chosen = numpy_log_p(config, state, pair.chosen)
        rejected = numpy_log_p(config, state, pair.rejected)
        margin = beta * ((chosen - chosen0) - (rejected - rejected0))
        losses.append(np.log1p(np.exp(-margin)))
    return np.mean(losses)


@pytest.fixture(scope="module")
def two():
    """A model at the beginning, and after a while."""
    size = chat_tokenizer().n_vocab
    return [small_model("gpt", vocab_size=size, context_length=64, seed=s).double() for s in (0, 1)]


def test_tokens_are_counted_without_padding(two, tmp_path):
    pairs = pairs_of(tmp_path)
    batch = tensors_of(pairs, np.zeros((5, 2), np.float32), CPU)
    lengths = [len(row.ids) for pair in pairs for row in (pair.chosen, pair.rejected)]
    assert len(set(lengths)) > 1
    assert int(Preference(two[0], 0.1).tokens(batch)) == sum(lengths)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_loss_and_gradient_are_numpys(two, tmp_path, rows):
    before, model = two
    pairs, beta = pairs_of(tmp_path), 0.3
    empty = tensors_of(pairs, np.zeros((5, 2), np.float32), CPU)
    with torch.no_grad():
        start = answer_log_probs(before, empty).float().numpy()
    batch = tensors_of(pairs, start, CPU)
    model.zero_grad()
    objective = Preference(model, beta)
    loss = float(accumulate(objective, batch, rows))
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    expected = numpy_loss(model.config, state, pairs, start, beta)
    assert loss == pytest.approx(expected, rel=1e-5) and abs(loss - math.log(2)) > 0.05
    # The steepest number of some weights: NumPy's differences.
    for name in ("layers.0.attn.k_proj.weight", "layers.1.ffn.w2.weight", "lm_head.weight"):
        grad = dict(model.named_parameters())[name].grad
        at = np.unravel_index(int(grad.abs().argmax()), grad.shape)
        found, values = [], state[name]
        for step in (1e-4, -2e-4):
            values[at] += step
            found.append(numpy_loss(model.config, state, pairs, start, beta))
        values[at] += 1e-4
        assert (found[0] - found[1]) / 2e-4 == pytest.approx(float(grad[at]), rel=1e-3), name
    sums = objective.take_sums()
    assert sums.dtype == torch.float64 and sums[0] == len(pairs)
    figures = figures_of(sums)
    assert figures["loss"] == pytest.approx(loss)
    margin = figures["reward_chosen"] - figures["reward_rejected"]
    assert figures["margin"] == pytest.approx(margin)
    assert figures_of(objective.take_sums()) == {}  # they were taken


def test_bfloat16_is_near(tmp_path):
    batch = tensors_of(pairs_of(tmp_path), np.zeros((5, 2), np.float32), CPU)
    found = []
    for dtype in (None, torch.bfloat16):
        model = small_model("gpt", vocab_size=chat_tokenizer().n_vocab, context_length=64)

        def computing(dtype=dtype):
            return torch.autocast("cpu", dtype=dtype, enabled=dtype is not None)

        accumulate(Preference(model, 0.1, computing), batch, 5)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    distance = (found[0] - found[1]).norm() / found[0].norm()
    assert 0 < distance < 0.1


class Table(torch.nn.Module):
    """A model of three tokens: the logits after each are the same, and are its weights."""

    def __init__(self, logits):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(logits))
        self.config = small_model(vocab_size=3).config

    def hidden(self, ids):
        return torch.zeros(*ids.shape, 1)

    def logits(self, hidden):
        return self.weight.expand(len(hidden), 3)


def test_an_example_by_hand():
    """p = (1/2, 1/4, 1/4). Chosen: the tokens 0, 0, log p = -2 log 2. Rejected: 1, -2 log 2.

    At the beginning chosen was -3 log 2 and rejected -1 log 2, so the gains are +log 2 and -log 2:
    with beta 1/2 the margin is log 2, sigmoid 2/3, the loss log(3/2). Its gradient is that of
    -1/3 beta (log p chosen - log p rejected); of a log p, by the logits, counts minus n p:
    (2, 0, 0) - 2 p = (1, -1/2, -1/2) and (0, 1, 0) - p = (-1/2, 3/4, -1/4).
    """
    model = Table([math.log(2), 0.0, 0.0])
    # The first target is the prompt's, and the rejected answer is shorter.
    pair = EncodedPair(Encoded([2, 2, 0], [-1, 0, 0]), Encoded([2, 2], [-1, 1]))
    start = np.array([[-3 * math.log(2), -math.log(2)]], np.float32)
    objective = Preference(model, 0.5)
    loss = accumulate(objective, tensors_of([pair], start, CPU), 1)
    assert float(loss) == pytest.approx(math.log(1.5), rel=1e-6)
    by_hand = -1 / 3 * 0.5 * (np.array([1, -0.5, -0.5]) - np.array([-0.5, 0.75, -0.25]))
    assert model.weight.grad.numpy() == pytest.approx(by_hand, rel=1e-5)
    figures = figures_of(objective.take_sums())
    gain = 0.5 * math.log(2)
    expected = {"accuracy": 1.0, "margin": 2 * gain, "reward_chosen": gain}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    # The other way round: the rejected one has gained more.
    turned = EncodedPair(pair.rejected, pair.chosen)
    loss = accumulate(objective, tensors_of([turned], start[:, ::-1].copy(), CPU), 1)
    assert float(loss) == pytest.approx(math.log(3), rel=1e-6)
    assert figures_of(objective.take_sums())["accuracy"] == 0.0


def test_equal_gains_are_not_a_preference():
    model = Table([math.log(2), 0.0, 0.0])
    pair = EncodedPair(Encoded([2, 2, 0], [-1, 0, 0]), Encoded([2, 2], [-1, 1]))
    batch = tensors_of([pair], np.zeros((1, 2), np.float32), CPU)
    batch["reference"] = answer_log_probs(model, batch).detach()
    objective = Preference(model, 0.5)
    assert float(accumulate(objective, batch, 1)) == pytest.approx(math.log(2))
    figures = figures_of(objective.take_sums())
    assert figures["margin"] == 0 and figures["accuracy"] == 0


def test_answers_without_a_token_have_probability_one():
    pair = EncodedPair(Encoded([2, 2], [-1, -1]), Encoded([2], [-1]))
    batch = tensors_of([pair], np.zeros((1, 2), np.float32), CPU)
    assert answer_log_probs(Table([0.0, 0.0, 0.0]), batch).tolist() == [[0, 0]]
