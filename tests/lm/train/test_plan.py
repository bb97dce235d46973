"""The dial: what a depth decides, and what it leaves alone."""

import dataclasses
import math

import pytest

pytest.importorskip("torch")

from bytemill.lm import Transformer
from bytemill.lm.optim.groups import OptimConfig
from bytemill.lm.train import TrainConfig
from bytemill.lm.train.plan import lr_scale, plan, scaling_parameters


def planned(n_vocab=32_768, dial="gpu", **fields):
    config = TrainConfig.of(data="d", out="o", **fields)
    return plan(config.model, config.optimizer, config.schedule, n_vocab, dial=dial)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 7, 11, 12, 13, 16, 20, 26, 32])
@pytest.mark.parametrize("preset", ["gpt", "cs336"])
def test_every_depth_is_a_model(depth, preset):
    model = planned(depth=depth, preset=preset).model
    assert (model.n_layer, model.d_model) == (depth, 64 * depth)
    assert model.head_dim == (128 if depth >= 12 and depth % 2 == 0 else 64)
    assert model.vocab_size == 32_768


def test_the_reference():
    # nanochat's d12 in numbers: 2^19 tokens a step, rates as they are.
    twelve = planned(depth=12, context_length=2048)
    assert (twelve.model.n_head, twelve.tokens_per_step) == (6, 1 << 19)
    assert twelve.optimizer == OptimConfig(kind="muon").resolved()
    assert twelve.tokens == pytest.approx(20 * scaling_parameters(twelve.model), rel=0.01)


def test_the_batch_grows_with_the_horizon():
    batches = {depth: planned(depth=depth).tokens_per_step for depth in (4, 12, 20, 26)}
    assert all(math.log2(tokens).is_integer() for tokens in batches.values())
    assert list(batches.values()) == sorted(batches.values())
    assert batches[4] < batches[12] < batches[26]
    # B ~ D^0.383, to the next power of two.
    growth = planned(depth=26).tokens / planned(depth=12).tokens
    assert math.log2(batches[26] / batches[12]) == round(0.383 * math.log2(growth))


def test_the_model_is_counted_as_it_is():
    found = planned(n_vocab=512, depth=2, preset="cs336")
    model = Transformer(found.model, device="meta")
    assert found.n_params == model.n_params()
    assert scaling_parameters(found.model) == found.n_params - 512 * 128


def test_precedence_of_horizons():
    common = {"depth": 2, "batch_size": 8, "n_vocab": 512}
    by_flops = planned(flops=1e13, **common)
    assert by_flops.tokens * by_flops.flops_per_token == pytest.approx(1e13, rel=0.01)
    by_ratio = planned(flops=1e13, tokens_per_parameter=3.0, **common)
    assert by_ratio.tokens == pytest.approx(3 * scaling_parameters(by_ratio.model), rel=0.01)
    assert planned(flops=1e13, tokens_per_parameter=3.0, steps=7, **common).steps == 7
    default = planned(**common)
    assert default.tokens == pytest.approx(20 * scaling_parameters(default.model), rel=0.01)


def test_what_is_given_stays():
    found = planned(
        depth=4, d_model=96, n_head=3, n_kv_head=1, d_ff=100, vocab_size=40_000, batch_size=3,
        steps=50, matrix_lr=0.5, weight_decay=0.7, beta1=0.5, warmup_steps=9, schedule="cosine",
    )  # fmt: skip
    model, optimizer = found.model, found.optimizer
    assert (model.d_model, model.n_layer, model.n_head, model.n_kv_head) == (96, 4, 3, 1)
    assert (model.d_ff, model.vocab_size) == (100, 40_000)
    assert (found.batch_size, found.steps) == (3, 50)
    assert (optimizer.matrix_lr, optimizer.weight_decay) == (0.5, 0.7)
    assert (optimizer.beta1, optimizer.beta2) == (0.5, 0.95)
    assert (found.schedule.kind, found.schedule.warmup_steps) == ("cosine", 9)
    assert found.schedule.total_steps == 50
    assert planned(n_layer=3).model.d_model == 192


def test_rates_go_with_the_batch():
    whole, half = planned(depth=12), planned(depth=12, batch_size=512, context_length=512)
    for name in ("embedding_lr", "head_lr", "matrix_lr", "vector_lr"):
        ratio = getattr(half.optimizer, name) / getattr(whole.optimizer, name)
        assert ratio == pytest.approx(math.sqrt(0.5))
        unscaled = planned(depth=12, batch_size=512, context_length=512, lr_batch_scaling=False)
        assert getattr(unscaled.optimizer, name) == getattr(whole.optimizer, name)
    assert [lr_scale(1 << n) for n in (0, 19, 21)] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"d_model": 100, "n_head": 3}, "d_model=100 .* n_head=3"),
        ({"d_model": 30, "n_head": 2}, "heads of size 15"),
        ({"n_head": 4, "n_kv_head": 3}, "n_kv_head=3"),
        ({"flops": 1e3}, "flops=1000.0: .* less than one step"),
        ({"tokens_per_parameter": 1e-9, "batch_size": 8}, "less than one step"),
        ({"steps": 5, "warmup_steps": 6}, "warmup_steps=6"),
    ],
)
def test_what_does_not_go_together(fields, words):
    with pytest.raises(ValueError, match=words):
        planned(**fields)


def test_plans_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        planned(depth=2).steps = 3


@pytest.mark.parametrize("n_vocab", [512, 4096, 32_768])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 12])
def test_on_a_cpu_a_depth_alone_ends_within_the_hour(depth, n_vocab):
    found, usual = planned(n_vocab, "cpu", depth=depth), planned(n_vocab, depth=depth)
    # Two cores reach from 50 to 250 GFLOP/s.
    assert found.tokens * found.flops_per_token <= 2e14 * 1.01
    assert found.tokens <= usual.tokens * 1.01
    assert found.tokens_per_step <= usual.tokens_per_step
    assert found.batch_size == 1 or 500 <= found.steps <= 1100


def test_on_a_cpu_what_is_given_stays():
    for fields in ({"tokens_per_parameter": 20.0}, {"flops": 1e16}, {"steps": 900}):
        found, usual = (planned(4096, dial, depth=4, batch_size=64, **fields) for dial in CPU_GPU)
        assert found == usual
    assert planned(4096, "cpu", depth=12, batch_size=999).batch_size == 999


CPU_GPU = ("cpu", "gpu")


# The recipe of 2026, worked out by hand for a vocabulary of 32,768 and T 2,048.

BY_HAND = {
    12: {
        # 12 layers of 4 x 768^2 and 2 x 768 x 3,072, six of them with gates 12 x 6; head V x 768.
        "parameters": 28_311_984 + 56_623_104 + 25_165_824,
        "batch": 1 << 19,  # the reference
        "steps": 2520,  # 12 x 110,100,912 / 524,288 = 2,520.0
        "width": 1.0,
        "rates": 1.0,
        "decay": 0.28,
    },
    20: {
        # 20 layers of 4 x 1,280^2 and 2 x 1,280 x 5,120, ten with gates 12 x 10; head V x 1,280.
        "parameters": 131_073_200 + 262_144_000 + 41_943_040,
        # D over that of depth 12 is 435,160,240 / 110,100,912 = 3.9524; its power of 0.383 is
        # 1.693, and log2(2^19 x 1.693) = 19.76.
        "batch": 1 << 20,
        "steps": 4980,  # 12 x 435,160,240 / 1,048,576 = 4,980.0
        "width": 0.774597,  # (1,280 / 768) ** -0.5
        "rates": 1.414214,
        "decay": 0.100188,  # 0.28 x 1.414214 / 3.9524
    },
}


@pytest.mark.parametrize("depth", BY_HAND)
def test_the_dial_of_2026_by_hand(depth):
    hand = BY_HAND[depth]
    found = planned(depth=depth, preset="nanochat-2026", context_length=2048)
    assert scaling_parameters(found.model) == hand["parameters"]
    assert (found.tokens_per_step, found.steps) == (hand["batch"], hand["steps"])
    assert found.width_scale == pytest.approx(hand["width"], rel=1e-5)
    assert found.batch_scale == pytest.approx(hand["rates"], rel=1e-5)
    of = found.optimizer
    rates, both = hand["rates"], hand["rates"] * hand["width"]
    for name, expected in {
        "head_lr": 0.008 * both, "embedding_lr": 0.3 * both, "value_embedding_lr": 0.15 * both,
        "resid_lr": 0.005 * rates, "x0_lr": 0.5 * rates, "smear_lr": 0.2 * rates,
        "matrix_lr": 0.02 * rates, "weight_decay": hand["decay"], "momentum": 0.97, "eps": 1e-10,
        "muon_beta2": 0.9, "ns_steps": 5,
    }.items():  # fmt: skip
        assert getattr(of, name) == pytest.approx(expected, rel=1e-5), name
    assert of.muon_row_norm and of.muon_unit_norm and of.muon_cautious
    assert (of.ns_quintics, of.ns_divisor, found.grad_clip) == ("polar-express", "norm", None)
    schedule = found.schedule
    assert (schedule.kind, schedule.warmup_steps) == ("linear", 40)
    assert (schedule.final_fraction, schedule.decay_fraction) == (0.05, 0.65)
    assert (schedule.momentum_start, schedule.momentum_end) == (0.85, 0.9)
    assert (schedule.momentum_warmup_steps, schedule.decay) == (400, "cosine")
    # The ratio of the speed record.
    fewer = planned(depth=depth, preset="nanochat-2026", tokens_per_parameter=8.0)
    assert fewer.tokens == pytest.approx(8 * hand["parameters"], rel=1e-3)
    assert (fewer.tokens_per_step, fewer.optimizer) == (hand["batch"], of)


def test_every_depth_of_2026_has_heads_of_128():
    for depth in (1, 2, 3, 4, 6, 7, 11, 12, 13, 20, 26):
        model = planned(depth=depth, preset="nanochat-2026").model
        assert (model.n_layer, model.d_model) == (depth, 128 * math.ceil(64 * depth / 128))
        assert model.head_dim == 128
        assert model.window_pattern == "SSSL"
    odd = planned(depth=4, preset="nanochat-2026", d_model=192).model
    assert (odd.d_model, odd.n_head) == (192, 3)


def test_switches_of_2026_are_switched_off_one_by_one():
    given = {
        "model": {
            "value_embeddings": False, "qk_scale": 1.0, "smear": False, "window_pattern": "L",
        },
        "optimizer": {
            "own_betas": False, "weight_decay": 0.3, "muon_cautious": False, "muon_beta2": None,
            "grad_clip": 2.0, "beta2": 0.9,
        },
        "schedule": {
            "momentum_start": None, "warmup_steps": 5, "final_fraction": 0.0,
            "decay_schedule": "constant",
        },
    }  # fmt: skip
    usual = planned(depth=4, preset="nanochat-2026", steps=100)
    flat = {name: value for part in given.values() for name, value in part.items()}
    found = planned(depth=4, preset="nanochat-2026", steps=100, **flat)
    for part, fields in given.items():
        for name, value in fields.items():
            where, name = getattr(found, part), name.replace("decay_schedule", "decay")
            assert getattr(where, name) == value
            assert getattr(getattr(usual, part), name) != value
    assert found.grad_clip == 2.0
    assert found.optimizer.betas("head") == (0.8, 0.9)
    assert usual.optimizer.betas("head") == (0.8, 0.96)
    # The optimizer of 2026 with another model, and the other way round.
    mixed = planned(depth=12, recipe="nanochat-2026")
    assert not mixed.model.smear and mixed.optimizer.muon_cautious
    assert mixed.schedule.final_fraction == 0.05
    assert (
        planned(depth=12, preset="nanochat-2026", recipe="gpt").optimizer
        == OptimConfig(recipe="gpt").resolved()
    )


def test_the_cpus_dial_does_not_scale_rates_away():
    fields = {"depth": 4, "preset": "nanochat-2026", "n_vocab": 4096, "batch_size": 4}
    small, large = (planned(dial=dial, context_length=512, **fields) for dial in CPU_GPU)
    assert small.batch_scale == 0.5 and large.batch_scale == 1 / 16
    assert planned(dial="cpu", lr_batch_least=0.0, **fields).batch_scale == 1 / 16
    assert small.optimizer.weight_decay == large.optimizer.weight_decay


def test_the_first_recipe_is_as_it_was():
    """What `gpt` came to before there was another."""
    found = planned(depth=12, context_length=2048)
    of = found.optimizer
    assert (of.beta1, of.beta2, of.eps, of.weight_decay) == (0.8, 0.95, 1e-10, 0.0)
    assert (of.momentum, of.ns_steps, found.grad_clip) == (0.95, 8, 1.0)
    assert (of.ns_quintics, of.ns_divisor, of.muon_beta2) == ("best", "bound", None)
    assert not (of.muon_row_norm or of.muon_unit_norm or of.muon_cautious or of.own_betas)
    schedule = found.schedule
    assert (schedule.final_fraction, schedule.decay_fraction) == (0.0, 0.5)
    assert (schedule.momentum_start, schedule.momentum_end, schedule.decay) == (
        None,
        None,
        "constant",
    )
