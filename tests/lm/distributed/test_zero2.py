"""Shared-out optimizers against whole ones, on random shapes."""

from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from bytemill.lm.distributed.layout import Kind, share_out
from bytemill.lm.distributed.zero2 import Zero2
from bytemill.lm.optim.adamw import AdamW
from bytemill.lm.optim.clip import clip_gradients
from bytemill.lm.optim.muon import Muon
from tests.support.ranks import on_ranks

# Matrices of one shape are 1 to 5, so that they divide by no number of ranks; vectors are of 1 to 7
# numbers, so that some ranks have nothing of them. Eight Newton-Schulz steps multiply rounding by
# thousands (docs/ranks.md): the comparisons are in fp64, with torch's quintics, and in fp32 with
# fewer steps, where runs are up to 6e-6 apart with three of them and 3e-5 with five.
TORCHS = ((3.4445, -4.7750, 2.0315),) * 5


class Case(NamedTuple):
    seed: int
    adam: type
    bucket_numbers: int
    dtype: torch.dtype = torch.float64
    steps: int = 50
    max_norm: float = 1e9
    tolerance: float = 1e-7
    ns_steps: int = 8


CASES = [
    Case(0, torch.optim.AdamW, 64), Case(1, AdamW, 1 << 22),
    Case(2, torch.optim.AdamW, 1, steps=10),
    Case(3, AdamW, 64, torch.float32, 20, 3.0, 1e-4, ns_steps=3),
    Case(4, torch.optim.AdamW, 64, torch.float32, 3, 3.0, 3e-4, ns_steps=5),
]  # fmt: skip


class Weights(nn.Module):
    """Parameters of random shapes."""

    def __init__(self, seed, dtype):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        sizes = torch.randint(1, 8, (40,), generator=random).tolist()
        matrices, vectors = [], []
        for number in range(4):
            shape = sizes[2 * number : 2 * number + 2]
            matrices += [shape] * (1 + sizes[20 + number] % 5)
        vectors = [[sizes[30 + n]] for n in range(5)] + [[], [1, 1], [3, 5]]
        for number, shape in enumerate([*matrices, *vectors]):
            weight = nn.Parameter(torch.randn(shape, generator=random).to(dtype))
            self.register_parameter(f"w{number}", weight)
        self.n_matrices = len(matrices)

    def parts(self):
        weights = list(self.parameters())
        return weights[: self.n_matrices], weights[self.n_matrices :]

    def loss(self, step, row):
        """A row's; a quartic, so that gradients depend on the weights. One vector has none."""
        random = torch.Generator().manual_seed(1000 * step + row)
        total = torch.zeros(())
        for number, weight in enumerate(self.parameters()):
            aim = torch.randn(weight.shape, generator=random).to(weight.dtype)
            if number == self.n_matrices + 1 and step % 3 == 0:
                continue
            total = total + ((weight - aim) ** 2).sum() + 0.1 * (weight**4).sum()
        return total


def begin(case):
    model = Weights(case.seed, case.dtype)
    matrices, vectors = model.parts()
    adam = case.adam(
        [{"params": vectors[:3], "lr": 0.02, "weight_decay": 0.1}, {"params": vectors[3:]}],
        lr=0.01, betas=(0.8, 0.95), eps=1e-10,
    )  # fmt: skip
    torchs = {"ns_coefficients": TORCHS, "ns_dtype": torch.float64}
    fewer = {"ns_steps": case.ns_steps, "ns_dtype": torch.float32}
    muon = Muon(
        matrices, lr=0.02, weight_decay=0.01, **(torchs if case.dtype == torch.float64 else fewer)
    )
    return model, [adam, muon]


ROWS = 5


def alone(case, model, several, first, steps):
    """Steps on all rows, in one process; returns the gradients' norms."""
    norms = []
    for step in range(first, steps):
        model.zero_grad(set_to_none=True)
        for row in range(ROWS):
            (model.loss(step, row) / ROWS).backward()
        norms.append(float(clip_gradients(model.parameters(), case.max_norm)))
        for optimizer in several:
            optimizer.step()
    return norms


def together(group, case, loaded=None, first=0):
    """The same with rows and optimizers shared out."""
    model, several = begin(case)
    shared = Zero2(model, several, group, bucket_numbers=case.bucket_numbers)
    if loaded is not None:
        model.load_state_dict(loaded[0])
        for optimizer, state in zip(several, loaded[1], strict=True):
            optimizer.load_state_dict(state)
    norms = []
    for step in range(first, case.steps):
        shared.clear()
        rows = group.rows(ROWS)
        for row in rows:
            if row == rows[-1]:
                shared.last_backward()
            (model.loss(step, row) / ROWS).backward()
        used = shared.collect()
        shared.reduce([n > 0 for n in group.sum(torch.tensor(used, dtype=torch.float64)).tolist()])
        assert all(weight.grad is None for weight in model.parts()[1])
        norms.append(float(shared.clip(case.max_norm)))
        for optimizer in several:
            optimizer.step()
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    return weights, [optimizer.state_dict() for optimizer in several], norms


def each_case(group, half):
    return [together(group, case) for case in CASES], together(group, CASES[0], half, 25)


@pytest.mark.parametrize("size", [2, 4])
def test_shared_out_optimizers_equal_whole_ones(size):
    model, several = begin(CASES[0])
    alone(CASES[0], model, several, 0, 25)
    half = model.state_dict(), [optimizer.state_dict() for optimizer in several]
    by_rank = on_ranks(size, each_case, half)
    for number, case in enumerate(CASES):
        model, several = begin(case)
        start = {name: weight.clone() for name, weight in model.state_dict().items()}
        norms = alone(case, model, several, 0, case.steps)
        weights, states, found_norms = by_rank[0][0][number]
        compare(model, several, weights, states, start, case.tolerance)
        torch.testing.assert_close(found_norms, norms, rtol=1e-5, atol=0)
        for rank in range(1, size):
            for name, weight in weights.items():
                assert torch.equal(by_rank[rank][0][number][0][name], weight)
        if number == 0:  # a whole state, taken up by ranks, ends the same
            weights, states, _ = by_rank[0][1]
            compare(model, several, weights, states, half[0], case.tolerance)


def compare(model, several, weights, states, start, tolerance):
    """By the size of what the steps have changed."""
    for name, weight in model.state_dict().items():
        assert (weights[name] - weight).norm() <= tolerance * (weight - start[name]).norm(), name
    for optimizer, found in zip(several, states, strict=True):
        expected = optimizer.state_dict()
        assert found["param_groups"] == expected["param_groups"]
        assert list(found["state"]) == sorted(expected["state"])
        for index, state in expected["state"].items():
            assert found["state"][index].keys() == state.keys()
            for name, value in state.items():
                other = found["state"][index][name]
                assert type(other) is type(value)
                if isinstance(value, torch.Tensor):
                    assert other.shape == value.shape
                    assert (other - value).norm() <= 10 * tolerance * value.norm(), name
                else:
                    assert other == value


def kinds(n, shape, is_whole):
    return [Kind(shape, torch.float32, int(is_whole), is_whole)] * n


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_every_number_has_one_owner_and_a_place_of_its_own(ranks):
    of = [
        *kinds(2, (7, 5), False), *kinds(5, (4, 4), True), *kinds(3, (8, 4), True),
        *kinds(3, (4, 8), True), *kinds(4, (1,), False), *kinds(1, (), False),
    ]  # fmt: skip
    for size in (1, 50, 1 << 20):
        buckets = share_out(of, ranks, size)
        owned = [torch.zeros(kind.numel) for kind in of]
        for bucket in buckets:
            places = torch.zeros(ranks, bucket.width)
            for piece in bucket.pieces:
                places[piece.rank, piece.offset : piece.offset + piece.numel] += 1
                owned[piece.parameter][piece.start : piece.stop] += 1
                assert not of[piece.parameter].is_whole or piece.numel == of[piece.parameter].numel
                assert of[piece.parameter].optimizer == bucket.optimizer
            assert places.max() == 1
        assert all(bool((count == 1).all()) for count in owned)
    assert len(share_out(of, ranks, 1)) > len(share_out(of, ranks, 1 << 20)) == 2


def test_what_does_not_divide_is_spread_over_ranks():
    # Three of each of two shapes: the rank that has two of the first gets one of the second.
    buckets = share_out(kinds(3, (8, 8), True) + kinds(3, (4, 16), True), 2)
    load = [sum(p.numel for b in buckets for p in b.of_rank(rank)) for rank in (0, 1)]
    assert load == [192, 192]
