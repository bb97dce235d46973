"""What each group of parameters gets: tables written by hand, for both kinds of optimizer."""

import math

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.optim.adamw import AdamW
from bytemill.lm.optim.groups import (
    OptimConfig,
    apply_schedule,
    build_optimizers,
    peak_rates,
    set_learning_rates,
    used_rates,
)
from bytemill.lm.optim.muon import Muon
from bytemill.lm.optim.schedule import Schedule
from tests.support.lm_runs import tiny_model
from tests.support.models import small_model

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


class Tiny(torch.nn.Module):
    def __init__(self, width=192):
        super().__init__()
        self.token_embeddings = torch.nn.Embedding(11, width)
        self.q_proj = torch.nn.Linear(width, width, bias=False)
        self.ln = torch.nn.LayerNorm(width)
        self.lm_head = torch.nn.Linear(width, 11, bias=False)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_groups(kind):
    model = Tiny()
    config = OptimConfig(kind=kind, head_lr=0.01)
    optimizers = build_optimizers(model, config)
    groups = {group["name"]: group for o in optimizers for group in o.param_groups}
    owned = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(owned) == sorted(map(id, model.parameters()))
    assert list(groups) == ["embedding", "head", "vectors", "matrices"] or kind == "adamw"
    assert groups["embedding"]["params"] == [model.token_embeddings.weight]
    assert groups["head"]["params"] == [model.lm_head.weight]
    assert groups["matrices"]["params"] == [model.q_proj.weight]
    # A rate that is given is used; defaults are for a width of 768, of which 192 is a quarter.
    assert groups["head"]["base_lr"] == 0.01
    if kind == "muon":
        assert isinstance(optimizers[1], Muon)
        assert groups["embedding"]["lr"] == pytest.approx(0.4)
        assert groups["matrices"]["base_lr"] == 0.02
    else:
        assert groups["matrices"]["base_lr"] == pytest.approx(2e-3)
        assert groups["matrices"]["weight_decay"] == 0.1
    assert groups["vectors"]["weight_decay"] == 0
    set_learning_rates(optimizers, 0.25)
    assert groups["head"]["lr"] == pytest.approx(0.0025)
    assert groups["head"]["base_lr"] == 0.01
    config = OptimConfig(kind=kind, lr_width_scaling=False)
    whole = {g["name"]: g["lr"] for o in build_optimizers(model, config) for g in o.param_groups}
    defaults = (0.2, 4e-3, 0.02) if kind == "muon" else (1e-3,) * 3
    assert (whole["embedding"], whole["head"], whole["matrices"]) == defaults


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_tied_embedding_has_the_rate_of_a_head(kind):
    model = small_model(tie_embeddings=True)
    groups = build_optimizers(model, OptimConfig(kind=kind, embedding_lr=0.2, head_lr=0.004))
    found = [g for o in groups for g in o.param_groups if g["params"][0] is model.lm_head.weight]
    assert [(group["name"], group["base_lr"]) for group in found] == [("head", 0.004)]
    assert not any(g["name"] == "embedding" for o in groups for g in o.param_groups)


GROUPS_OF_2026 = {
    # Rate, betas, decay; the first three rates are for a width of 768, of which 192 is a quarter.
    "embedding": (0.6, (0.8, 0.995), 0.001),
    "head": (0.016, (0.8, 0.96), 0.01),
    "value_embeddings": (0.3, (0.8, 0.995), 0.01),
    "resid": (0.005, (0.8, 0.95), 0.05),
    "x0": (0.5, (0.96, 0.95), 0.0),
    "smear": (0.2, (0.8, 0.95), 0.0),
}


def test_groups_of_2026():
    model = small_model("nanochat-2026", d_model=192, n_layer=3)
    optimizers = build_optimizers(model, OptimConfig(recipe="nanochat-2026"))
    adamw, muon = optimizers
    found = {group["name"]: group for group in adamw.param_groups}
    assert {
        name: (pytest.approx(group["base_lr"]), group["betas"], group["weight_decay"])
        for name, group in found.items()
    } == GROUPS_OF_2026
    assert all(group["eps"] == 1e-10 for group in found.values())
    names = {id(weight): name for name, weight in model.named_parameters()}
    held = {name: [names[id(p)] for p in group["params"]] for name, group in found.items()}
    assert held["value_embeddings"] == ["value_embeddings.0.weight", "value_embeddings.2.weight"]
    assert held["smear"] == ["smear.gate.weight", "smear.scale.weight", "backout.weight"]
    assert (held["resid"], held["x0"]) == (["resid.weight"], ["x0.weight"])
    (matrices,) = muon.param_groups
    rest = {names[id(p)] for p in matrices["params"]}
    assert rest == {name for name in names.values() if name.startswith("layers.")}
    settings = {
        "base_lr": 0.02, "momentum": 0.97, "ns_steps": 5, "weight_decay": 0.28, "beta2": 0.9,
        "ns_quintics": "polar-express", "ns_divisor": "norm", "row_norm": True, "unit_norm": True,
        "cautious": True, "nesterov": True,
    }  # fmt: skip
    assert {name: matrices[name] for name in settings} == settings
    # Its groups share settings where they are given.
    shared = OptimConfig(recipe="nanochat-2026", beta2=0.9, own_decays=False)
    for group in build_optimizers(model, shared)[0].param_groups:
        assert group["betas"] == (GROUPS_OF_2026[group["name"]][1][0], 0.9)
        assert group["weight_decay"] == 0


def test_a_schedule_is_applied_to_what_may_change():
    model = small_model("nanochat-2026", n_layer=2)
    optimizers = build_optimizers(
        model, OptimConfig(recipe="nanochat-2026", lr_width_scaling=False)
    )
    schedule = Schedule(
        "linear", 0, 100, 0.05, 0.65, momentum_start=0.85, momentum_warmup_steps=20,
        momentum_end=0.9, decay="cosine",
    )  # fmt: skip
    assert apply_schedule(optimizers, schedule, 50) == pytest.approx(0.05 + 0.95 * 50 / 65)
    adamw, muon = optimizers
    (matrices,) = muon.param_groups
    assert matrices["lr"] == pytest.approx(0.02 * (0.05 + 0.95 * 50 / 65))
    assert matrices["weight_decay"] == pytest.approx(0.14)
    assert matrices["momentum"] == pytest.approx(0.9 + 0.07 * 50 / 65)
    for group in adamw.param_groups:
        _, betas, decay = GROUPS_OF_2026[group["name"]]
        assert group["lr"] == pytest.approx(group["base_lr"] * matrices["lr"] / 0.02)
        assert (group["betas"], group["weight_decay"]) == (betas, decay)
    # The bases stay, so that it does not matter where it was before.
    apply_schedule(optimizers, schedule, 0)
    assert (matrices["lr"], matrices["weight_decay"], matrices["momentum"]) == (0.02, 0.28, 0.85)


def test_bad_configs():
    for fields, named in (
        ({"kind": "sgd"}, "kind='sgd'"),
        ({"head_lr": -1.0}, "head_lr=-1"),
        ({"embedding_lr": math.nan}, "embedding_lr=nan"),
        ({"beta2": 1.0}, "beta2=1.0"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"ns_steps": 0}, "ns_steps=0"),
    ):
        with pytest.raises(ValueError, match=named):
            OptimConfig(**fields)
    with pytest.raises(ValueError, match="token_embeddings"):
        build_optimizers(torch.nn.Linear(2, 2), OptimConfig())
    with pytest.raises(ValueError, match="requires_grad"):
        build_optimizers(Tiny().requires_grad_(False), OptimConfig())
    with pytest.raises(ValueError, match="lr=-1"):
        AdamW([torch.nn.Parameter(torch.ones(1))], lr=-1)
