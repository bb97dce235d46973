"""What each group of parameters gets: a table written by hand, for both kinds of optimizer."""

import math

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.optim.groups import (
    OptimConfig,
    build_optimizers,
    peak_rates,
    set_learning_rates,
    used_rates,
)
from tests.support.lm_runs import tiny_model

WIDTH = 192  # a quarter of the width that the default rates are for: theirs are doubled
# Learning rate, weight decay; the head's as the embedding's with AdamW.
TABLE = {
    "muon": {"embedding": (0.4, 0.0), "head": (8e-3, 0.0), "vectors": (8e-3, 0.0),
             "matrices": (0.02, 0.0)},
    "adamw": {"embedding": (2e-3, 0.1), "head": (2e-3, 0.1), "matrices": (2e-3, 0.1),
              "vectors": (2e-3, 0.0)},
}  # fmt: skip
ADAM = {"muon": ((0.8, 0.95), 1e-10), "adamw": ((0.9, 0.95), 1e-8)}


def built(**settings):
    model = tiny_model("cs336", d_model=WIDTH, n_head=3)
    return model, build_optimizers(model, OptimConfig(**settings))


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_every_default(kind):
    model, optimizers = built(kind=kind)
    groups = {group["name"]: group for o in optimizers for group in o.param_groups}
    assert set(groups) == set(TABLE[kind])
    for name, (lr, decay) in TABLE[kind].items():
        group = groups[name]
        assert group["lr"] == group["base_lr"] == pytest.approx(lr, rel=1e-12), name
        assert group["weight_decay"] == decay, name
        if name != "matrices" or kind == "adamw":
            assert (group["betas"], group["eps"]) == ADAM[kind]
    if kind == "muon":
        matrices = groups["matrices"]
        assert (matrices["momentum"], matrices["ns_steps"]) == (0.95, 8)
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    assert list(map(id, groups["vectors"]["params"])) == list(map(id, vectors))
    expected = {name: pytest.approx(lr) for name, (lr, _) in TABLE[kind].items()}
    assert peak_rates(optimizers) == expected
    # Rates of groups that only other models have are there as well.
    rates = used_rates(OptimConfig(kind=kind), WIDTH)
    assert {name: rates[name] for name in expected} == expected
    set_learning_rates(optimizers, 0.5)
    assert peak_rates(optimizers) == expected
    for name, (lr, _) in TABLE[kind].items():
        assert groups[name]["lr"] == pytest.approx(lr / 2)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_every_setting_is_passed_on(kind):
    given = {
        "embedding_lr": 0.5, "head_lr": 0.25, "matrix_lr": 0.125, "vector_lr": 0.75,
        "beta1": 0.7, "beta2": 0.85, "eps": 1e-3, "weight_decay": 0.3, "momentum": 0.6,
        "ns_steps": 3,
    }  # fmt: skip
    _, optimizers = built(kind=kind, **given)
    rates = {"embedding": 0.5, "head": 0.25, "matrices": 0.125, "vectors": 0.75}
    assert peak_rates(optimizers) == rates
    decaying = {"matrices"} if kind == "muon" else {"embedding", "head", "matrices"}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            assert group["weight_decay"] == (0.3 if group["name"] in decaying else 0.0)
            if "betas" in group:
                assert (group["betas"], group["eps"]) == ((0.7, 0.85), 1e-3)
            else:
                assert (group["momentum"], group["ns_steps"]) == (0.6, 3)


def test_what_a_width_multiplies():
    for width in (64, 768, 3072):
        assert OptimConfig().width_scale(width) == pytest.approx(math.sqrt(768 / width))
        assert OptimConfig(lr_width_scaling=False).width_scale(width) == 1.0
    # Of defaults alone, and not of what is given or of Muon's own rate.
    rates = used_rates(OptimConfig(kind="muon", head_lr=0.1), 3072)
    expected = {"embedding": 0.1, "head": 0.1, "matrices": 0.02, "vectors": 2e-3}
    assert {name: rates[name] for name in expected} == expected


def test_what_does_not_train_gets_nothing():
    model = tiny_model("cs336")
    for weight in model.parameters():
        weight.requires_grad_(weight.ndim == 1)
    (only,) = build_optimizers(model, OptimConfig(kind="muon"))
    assert [group["name"] for group in only.param_groups] == ["vectors"]
    assert isinstance(only, torch.optim.AdamW) and only.defaults["fused"]
