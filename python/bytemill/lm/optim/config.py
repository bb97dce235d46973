"""`OptimConfig`: the optimizers' settings, and what each recipe takes where they are left open."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, TypeAlias

from bytemill.lm.optim.polar import MOST_STEPS, Divisor, Quintics
from bytemill.lm.settings import AUTO, check, option

Recipe: TypeAlias = Literal["gpt", "nanochat-2026"]
"""A set of defaults: nanochat's as first published, or as of 2026."""

REFERENCE_WIDTH = 768
"""The model width (d_model) that the default learning rates are for."""
RATES = {
    "embedding": "embedding_lr",
    "head": "head_lr",
    "matrices": "matrix_lr",
    "vectors": "vector_lr",
    "value_embeddings": "value_embedding_lr",
    "resid": "resid_lr",
    "x0": "x0_lr",
    "smear": "smear_lr",
}
"""Parameter groups, and the fields that have their peak learning rates."""
_BY_WIDTH: Final = ("embedding_lr", "head_lr", "vector_lr", "value_embedding_lr")
_2026: Final[Recipe] = "nanochat-2026"

_AUTO = Literal["auto"]


@dataclass(frozen=True)
class OptimConfig:
    """How to change the weights: the optimizer, and the peak learning rate of each group of them.

    A rate that is given is the rate that is used. A field of None or "auto" is the default of the
    kind and the recipe (see `resolved`). Default rates are for a width of 768 and a step of 2^19
    tokens, and scaled to the run's own: those of embeddings, head and norms by
    (d_model / 768) ** -0.5 where AdamW uses them, as nanochat does (Muon's is the same for any
    width), and in a training run all of them by the root of the batch
    (`bytemill.lm.train.plan.lr_scale`).

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    kind: Literal["muon", "adamw"] = option(
        "muon", flag="optimizer", help="Muon for the layers' matrices, AdamW for the rest; or AdamW"
    )
    recipe: Recipe | _AUTO = option(  # noqa: RUF009
        AUTO,
        help="where the settings of optimizer, schedule and dial come from that are not given",
        derived='"nanochat-2026" for the preset of that name, "gpt" for others',
    )
    embedding_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, embedding",
        derived="Muon: 0.2, AdamW: 1e-3, nanochat-2026: 0.3, scaled",
    )
    head_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, head",
        derived="Muon: 4e-3, AdamW: 1e-3, nanochat-2026: 8e-3, scaled",
    )
    matrix_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, layers' matrices",
        derived="Muon: 0.02, AdamW: 1e-3, scaled",
    )
    vector_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, norms' weights",
        derived="Muon: 4e-3, AdamW: 1e-3, scaled",
    )
    value_embedding_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, value embeddings",
        derived="Muon or nanochat-2026: 0.15, AdamW: 1e-3, scaled",
    )
    resid_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, the numbers that multiply the residual stream",
        derived="Muon or nanochat-2026: 5e-3, AdamW: 1e-3, scaled by batch",
    )
    x0_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, the numbers that multiply what the stream began with",
        derived="Muon or nanochat-2026: 0.5, AdamW: 1e-3, scaled by batch",
    )
    smear_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, smear and backout",
        derived="Muon or nanochat-2026: 0.2, AdamW: 1e-3, scaled by batch",
    )
    lr_width_scaling: bool = option(
        True,
        help="multiply default rates of AdamW by (d_model / 768) ** -0.5; rates that are given are "
        "used as they are",
    )
    lr_batch_scaling: bool = option(
        True,
        help="multiply default rates by the root of a step's tokens over 2^19, at least by "
        "lr_batch_least; rates that are given are used as they are",
    )
    lr_batch_least: float | None = option(
        None,
        least=0,
        help="the least that default rates are multiplied by for a small batch",
        derived="0.5; nanochat-2026, but on a CPU: 0",
    )
    beta1: float | None = option(
        None,
        least=0,
        below=1,
        help="AdamW's decay of the gradient's average, in all of its groups",
        derived="with Muon: 0.8, alone: 0.9; see own_betas",
    )
    beta2: float | None = option(
        None,
        least=0,
        below=1,
        help="AdamW's decay of the square's average, in all of its groups",
        derived="0.95; see own_betas",
    )
    own_betas: bool | None = option(
        None,
        help="give AdamW's groups betas of their own where beta1 and beta2 are not given: head .8 "
        ".96, embeddings .8 .995, x0 .96 .95, others .8 .95",
        derived="nanochat-2026: true, others: false",
    )
    eps: float | None = option(
        None,
        least=0,
        help="added to AdamW's denominator",
        derived="with Muon or nanochat-2026: 1e-10, else: 1e-8",
    )
    weight_decay: float | None = option(
        None,
        least=0,
        help="decoupled weight decay, as a share of the learning rate; with Muon of the matrices, "
        "with AdamW of all but vectors",
        derived="Muon: 0, AdamW: 0.1, nanochat-2026 with Muon: 0.28, scaled",
    )
    decay_scaling: bool | None = option(
        None,
        help="multiply the default decay by the root of a step's tokens over 2^19, and by the "
        "tokens for depth 12 over those for this model",
        derived="nanochat-2026: true, others: false",
    )
    own_decays: bool | None = option(
        None,
        help="give AdamW's groups decays of their own: head and value embeddings .01, embedding "
        ".001, resid .05, others 0",
        derived="nanochat-2026: true, others: false",
    )
    momentum: float | None = option(
        None,
        least=0,
        below=1,
        help="Muon's decay of the gradient's average",
        derived="0.95, nanochat-2026: 0.97",
    )
    ns_steps: int | None = option(
        None,
        least=1,
        most=MOST_STEPS,
        help="Muon's Newton-Schulz steps; 5 suffice for most models, and more also "
        "bring up what is only rounding in the gradient",
        derived="8, nanochat-2026: 5",
    )
    ns_quintics: Quintics | _AUTO = option(  # noqa: RUF009
        AUTO,
        help="their polynomials: the best ones for so many steps, or the five of Polar Express "
        "(Amsel et al. 2025)",
        derived="best, nanochat-2026: polar-express",
    )
    ns_divisor: Divisor | _AUTO = option(  # noqa: RUF009
        AUTO,
        help="what a matrix is divided by before these steps: a close bound on its greatest "
        "singular value, or 1.01 times its norm",
        derived="bound, nanochat-2026: norm",
    )
    muon_row_norm: bool | None = option(
        None,
        help="Muon: bring the momentum's rows to their mean norm first (MuonEq, Chang et al. 2026)",
        derived="nanochat-2026: true, others: false",
    )
    muon_unit_norm: bool | None = option(
        None,
        help="Muon: bring the update's norm to the root of the smaller dimension (Muon+, Zhang et "
        "al. 2026)",
        derived="nanochat-2026: true, others: false",
    )
    muon_beta2: float | _AUTO | None = option(  # noqa: RUF009
        AUTO,
        least=0,
        below=1,
        help="Muon: decay of the average of squares by which the update's rows (columns of a wide "
        'matrix) are brought to like size (NorMuon, Li et al. 2025); "none" leaves them',
        derived="none, nanochat-2026: 0.9",
    )
    muon_cautious: bool | None = option(
        None,
        help="Muon: decay only numbers that the update moves towards 0, too (Chen et al. 2025)",
        derived="nanochat-2026: true, others: false",
    )
    grad_clip: float | _AUTO | None = option(  # noqa: RUF009
        AUTO,
        above=0,
        help='the largest norm of all gradients together; "none" does not clip',
        derived="1.0, nanochat-2026: none",
    )

    def __post_init__(self) -> None:
        check(self)

    def resolved(self, width: int = REFERENCE_WIDTH, recipe: Recipe = "gpt") -> OptimConfig:
        """The same with defaults in place of None and "auto", for a model of that width.

        With betas of the groups' own, beta1 and beta2 stay None where they are not given.

        Args:
            width: d_model.
            recipe: What `recipe` comes to if it is "auto".
        """
        chosen = recipe if self.recipe == AUTO else self.recipe
        defaults = {**_DEFAULTS[self.kind], "recipe": chosen, "grad_clip": 1.0, "muon_beta2": None}
        if chosen == _2026:
            defaults |= _OF_2026
            if self.kind == "muon":
                defaults["weight_decay"] = 0.28
        if defaults["own_betas"] if self.own_betas is None else self.own_betas:
            defaults["beta1"] = defaults["beta2"] = None
        scale = self.width_scale(width)
        for name in _BY_WIDTH:
            defaults[name] *= scale
        if self.kind == "adamw":
            defaults["matrix_lr"] *= scale
        open_ = {name: value for name, value in defaults.items() if self._is_open(name)}
        return replace(self, **open_)

    def over(self, base: OptimConfig, factor: float) -> OptimConfig:
        """The settings that are given here, over those of `base`, whose rates are multiplied.

        Args:
            base: One that is resolved; its are the kind, the recipe and what scaled its rates.
            factor: What its learning rates are multiplied by; rates that are given here stay.
        """
        given = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in _WHOLE and not self._is_open(field.name)
        }
        rates = {name: getattr(base, name) * factor for name in RATES.values()}
        return replace(base, **{**rates, **given})

    def _is_open(self, name: str) -> bool:
        value = getattr(self, name)
        return value == AUTO if name in _WORDS else value is None

    def width_scale(self, width: int) -> float:
        """What AdamW's default rates are multiplied by for a model of a width."""
        return (width / REFERENCE_WIDTH) ** -0.5 if self.lr_width_scaling else 1.0

    def betas(self, group: str) -> tuple[float, float]:
        """AdamW's in a parameter group, of a config that is resolved."""
        own = _OWN_BETAS.get(group, (0.8, 0.95))
        return (
            own[0] if self.beta1 is None else self.beta1,
            own[1] if self.beta2 is None else self.beta2,
        )

    def decay(self, group: str) -> float:
        """The weight decay in a parameter group, of a config that is resolved."""
        if group != "matrices" and self.own_decays:
            return _OWN_DECAYS.get(group, 0.0)
        has_any = group == "matrices" if self.kind == "muon" else group not in _PLAIN
        return (self.weight_decay or 0.0) if has_any else 0.0


# What a resolved configuration has come to by these is in its other fields.
_WHOLE: Final = (
    "kind",
    "recipe",
    "lr_width_scaling",
    "lr_batch_scaling",
    "lr_batch_least",
    "decay_scaling",
)
# Fields in which None has a meaning of its own, or which are strings.
_WORDS: Final = ("recipe", "ns_quintics", "ns_divisor", "muon_beta2", "grad_clip")
# Groups that AdamW alone lets not decay: scales, of which 0 is not the natural value.
_PLAIN: Final = ("vectors", "resid", "x0", "smear")
_OWN_BETAS: Final = {
    "head": (0.8, 0.96),
    "embedding": (0.8, 0.995),
    "value_embeddings": (0.8, 0.995),
    "x0": (0.96, 0.95),
}
_OWN_DECAYS: Final = {"head": 0.01, "embedding": 0.001, "value_embeddings": 0.01, "resid": 0.05}
_COMMON: Final[dict[str, Any]] = {
    "beta2": 0.95,
    "lr_batch_least": 0.5,
    "own_betas": False,
    "own_decays": False,
    "decay_scaling": False,
    "momentum": 0.95,
    "ns_steps": 8,
    "ns_quintics": "best",
    "ns_divisor": "bound",
    "muon_row_norm": False,
    "muon_unit_norm": False,
    "muon_cautious": False,
}
_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "muon": {
        **_COMMON,
        "embedding_lr": 0.2,
        "head_lr": 4e-3,
        "matrix_lr": 0.02,
        "vector_lr": 4e-3,
        "value_embedding_lr": 0.15,
        "resid_lr": 5e-3,
        "x0_lr": 0.5,
        "smear_lr": 0.2,
        "beta1": 0.8,
        "eps": 1e-10,
        "weight_decay": 0.0,
    },
    "adamw": {
        **_COMMON,
        **dict.fromkeys(RATES.values(), 1e-3),
        "beta1": 0.9,
        "eps": 1e-8,
        "weight_decay": 0.1,
    },
}
# Over these. Rates of groups that AdamW has with Muon, too, are the same without Muon.
_OF_2026: Final[dict[str, Any]] = {
    "embedding_lr": 0.3,
    "head_lr": 8e-3,
    "value_embedding_lr": 0.15,
    "resid_lr": 5e-3,
    "x0_lr": 0.5,
    "smear_lr": 0.2,
    "lr_batch_least": 0.0,
    "eps": 1e-10,
    "own_betas": True,
    "own_decays": True,
    "decay_scaling": True,
    "momentum": 0.97,
    "ns_steps": 5,
    "ns_quintics": "polar-express",
    "ns_divisor": "norm",
    "muon_row_norm": True,
    "muon_unit_norm": True,
    "muon_beta2": 0.9,
    "muon_cautious": True,
    "grad_clip": None,
}
