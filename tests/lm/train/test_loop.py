"""The loop by itself: a model, optimizers, batches and an objective of no language model."""

from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.train.events import Stepped
from bytemill.lm.train.loop import Loop, name_groups
from bytemill.lm.train.steps.objective import MeanOverRows
from bytemill.lm.train.steps.pace import Every, Pace
from bytemill.lm.train.steps.source import Again, OnDevice, as_source


def make(batches, told, steps=6, **options):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    name_groups([optimizer])
    objective = MeanOverRows(lambda batch: (model(batch[0]) - batch[1]).square().mean())
    pace, every = Pace(steps, 4), Every(1, 0, 0, 0)
    return Loop(model, [optimizer], batches, objective, pace, every, tell=told.append, **options)


def rows(n=5):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 3, generator=generator), torch.ones(4, 1)) for _ in range(n)]


def naive(batches, steps):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(steps):
        x, y = batches[step % len(batches)]
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.weight


@pytest.mark.parametrize("at_a_time", [None, 3])
def test_it_trains_as_torch_alone_does(at_a_time):
    told = []
    loop = make(as_source(rows()), told, steps=7, rows=at_a_time)
    loop.run()
    losses, weight = naive(rows(), 7)
    assert [e.loss for e in told if isinstance(e, Stepped)] == pytest.approx(losses, rel=1e-5)
    assert torch.allclose(loop.model.weight, weight, rtol=1e-5)


def test_its_state_is_where_it_goes_on():
    told, before = [], []
    first = make(as_source(rows()), before, steps=7)
    first.tell = lambda event: (before.append(event), first.stop() if first.step == 3 else None)
    first.run()
    again = make(as_source(rows()), told, steps=7)
    again.model.load_state_dict(first.model.state_dict())
    again.optimizers[0].load_state_dict(first.optimizers[0].state_dict())
    again.load_state_dict(first.state_dict(), first.step)
    again.run()
    losses = [e.loss for e in (*before, *told) if isinstance(e, Stepped)]
    assert losses == pytest.approx(naive(rows(), 7)[0], rel=1e-6)


class Recorder:
    """A rank that does not lead, and that writes down what is asked of it."""

    rank, size, leads = 1, 2, False

    def __init__(self):
        self.calls = []

    def draw(self, source):
        self.calls.append("draw")
        return source.next_batch()

    def total(self, number):
        self.calls.append("total")
        return number

    def any(self, flag):
        self.calls.append("any")
        return flag

    def same(self, number):
        self.calls.append("same")
        return 1.0

    def backward(self, loss, *, is_last):
        self.calls.append(f"backward {is_last}")
        loss.backward()

    def reduce(self, parameters):
        self.calls.append("reduce")

    def clip(self, parameters, max_norm):
        self.calls.append("clip")
        return torch.ones(())


def test_what_differs_by_rank_is_asked_of_the_world():
    told, world = [], Recorder()
    make(as_source(rows()), told, steps=1, rows=2, world=world).run()
    assert world.calls == [
        "any", "draw", "total", "backward False", "backward True", "any", "reduce", "total",
        "clip", "same",
    ]  # fmt: skip
    assert told == [], "only the rank that leads tells"


class Numbers:
    """An iterable with a place: 0, 1, 2 and from the beginning."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 3:
            self.at += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


@pytest.mark.parametrize("make_batches", [Numbers, lambda: [0, 1, 2]])
def test_batches_begin_again_and_go_on(make_batches):
    source = as_source(make_batches())
    assert [source.next_batch() for _ in range(4)] == [0, 1, 2, 0]
    state, want = source.state_dict(), [source.next_batch() for _ in range(4)]
    other = as_source(make_batches())
    other.next_batch()
    other.load_state_dict(state)
    assert [other.next_batch() for _ in range(4)] == want == [1, 2, 0, 1]


class Owned(Again):
    """A source that makes a rank's rows."""

    def __init__(self):
        super().__init__([])
        self.asked = []

    def next_batch(self):
        raise AssertionError("all rows are made")

    def next_share(self, rank, size):
        self.asked.append((rank, size))
        return torch.arange(4.0)[2 * rank :]


def test_a_rank_takes_its_own_rows_where_it_can():
    owned, listed = Owned(), Again([torch.arange(4.0)])
    for each in (owned, listed):
        source = OnDevice(each, torch.device("cpu"))
        assert source.next_share(1, 2).tolist() == [2.0, 3.0]
    assert owned.asked == [(1, 2)]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_batches_are_closed_however_the_run_ends(error):
    source, closed = as_source(rows()), []
    source.close = lambda: closed.append(True)

    def tell(event):
        assert not closed
        if error is not None:
            raise error

    loop = make(OnDevice(source, torch.device("cpu")), [], steps=1)
    loop.tell = tell
    with pytest.raises(error) if error else nullcontext():
        loop.run()
    assert closed == [True]


def test_batches_that_are_refused():
    with pytest.raises(TypeError, match=r"type generator cannot be gone on with: give a list"):
        as_source(x for x in [1])
    with pytest.raises(ValueError, match="there are no batches"):
        Again([]).next_batch()
    other = Again([1, 2])
    with pytest.raises(ValueError, match="began with 2 batches and these are 3"):
        Again([1, 2, 3]).load_state_dict(other.state_dict())
    ended = Numbers()
    once = iter(ended)
    ended.__class__ = type("Once", (Numbers,), {"__iter__": lambda self: once})
    source = as_source(ended)
    assert [source.next_batch() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="do not begin again"):
        source.next_batch()
